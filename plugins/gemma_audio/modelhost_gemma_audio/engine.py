"""The loop that computes, on the model's compute thread: the rows of all requests step by step together.

Newcomers join between two steps. That is why it is not `modelhost.BatchEngine`, whose pieces are done in one.
"""

import os
import threading
from collections.abc import Hashable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import chain
from queue import SimpleQueue
from typing import Any

import torch
from modelhost import ComputeThread, FairQueue, Log, NotReadyError, OverloadedError
from torch import Tensor
from transformers import DynamicCache

from modelhost_gemma_audio.audio_features import Clip, encoder_arguments
from modelhost_gemma_audio.batch import Batch
from modelhost_gemma_audio.sampling import Sampler, Sampling

READ_AT_ONCE = 16_384
"""Tokens of prompts, padding included, that are read in one go; a longer prompt is read alone. Chosen, because the activations
of all of them lie in memory beside the weights."""


@dataclass(eq=False)
class Row:
    """A prompt to continue."""

    job: Hashable
    """Whose it is: jobs take turns."""
    prompt: list[int]
    clips: tuple[Clip, ...]
    """What is heard in the prompt, in order."""
    sampling: Sampling
    limit: int
    """Tokens to give at most."""
    ends: frozenset[int]
    """Tokens that end it."""
    length: int = 0
    """Tokens in the cache."""
    given: int = 0
    cancelled: bool = False
    ended: bool = False
    """Whether the model ended it itself, by one of `ends`, which is not given."""
    sampler: Sampler | None = None
    steps: "SimpleQueue[int | BaseException | None]" = field(default_factory=SimpleQueue)
    """What has been computed; None is the end."""

    def tokens(self) -> Iterator[int]:
        """Yield tokens as they are chosen; closing the iterator cancels the rest. Raises what went wrong."""
        try:
            while (step := self.steps.get()) is not None:
                if isinstance(step, BaseException):
                    raise step
                yield step
        finally:
            self.cancelled = True

    @property
    def room(self) -> bool:
        """Return whether another token may be computed."""
        return not self.cancelled and self.given < self.limit


class Engine:
    """Owns the model's steps. Rows wait by turns of their jobs until one of `slots` is free."""

    def __init__(self, model: Any, device: str, *, slots: int, tidy: bool, log: Log) -> None:
        """Make it, to be started; `device` is where inputs go.

        `tidy` gives a GPU's unused memory back whenever nothing is left to do.
        """
        self._model = model
        self._device = torch.device(device)
        self._slots = slots
        self._tidy = tidy and self._device.type == "cuda"
        self._log = log
        self._waiting: FairQueue[Row] = FairQueue(batch=slots)
        self._coming: list[Row] = []
        self._rows: list[Row] = []
        self._batch: Batch | None = None
        self._next_tokens: Tensor | None = None
        self._changed = threading.Condition()
        self._closed = False
        self._running: Future[None] | None = None

    def start(self, compute: ComputeThread) -> None:
        """Compute on this thread, which is the engine's until `close`."""
        self._running = compute.submit(self._run)

    def compute_all(self) -> None:
        """Compute what waits to its end, on the calling thread; before `start`."""
        with torch.inference_mode():
            while self._rows or len(self._waiting):
                self._let_in()
                self._turn()

    def submit(self, row: Row) -> None:
        """Queue a row, to be computed in its turn; read `row.tokens()`."""
        with self._changed:
            if self._closed:
                raise NotReadyError("this model is being unloaded; send the request again in a moment")
            self._waiting.add(row.job, row)
            self._changed.notify()

    def cancel(self, job: Hashable) -> None:
        """Compute nothing more of a job, from the next step on; its rows end as if by their limit."""
        with self._changed:
            for row in self._waiting.drop(job):
                row.steps.put(None)
            for row in (*self._coming, *self._rows):
                if row.job == job:
                    row.cancelled = True

    def close(self) -> None:
        """Stop after the step that is being computed; whoever waits is told."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._running:
            self._running.result()

    def _run(self) -> None:
        with torch.inference_mode():
            while self._let_in():
                self._turn()
        with self._changed:
            unserved = [*self._rows, *chain.from_iterable(iter(self._waiting.take, []))]
        _tell(unserved, NotReadyError("this model was unloaded; send the request again"))

    def _turn(self) -> None:
        try:
            for group in _groups(self._coming):
                self._begin(group)
            self._step()
        except BaseException as error:  # SystemExit would end the loop, and who waits would wait for ever
            self._fail([*self._coming, *self._rows], error)
            self._forget()
        self._coming = []

    def _let_in(self) -> bool:
        """Choose newcomers for whom there are places, waiting for some where nothing is being computed; False once closed."""
        with self._changed:
            if not self._rows and not len(self._waiting) and self._tidy:
                torch.cuda.empty_cache()
            self._changed.wait_for(lambda: self._closed or self._rows or len(self._waiting))
            taken = [] if self._closed else self._waiting.take(self._slots - len(self._rows))
            self._coming = [row for row in taken if row.room]
            for row in taken:
                if not row.room:  # it may have no token, or nobody reads its answer any more
                    row.steps.put(None)
            return not self._closed

    def _begin(self, newcomers: list[Row]) -> None:
        """Read newcomers' prompts together; where that fails each by itself, since only one may be to blame."""
        failed: BaseException | None = None
        try:
            batch, tokens = self._read(newcomers)
        except BaseException as error:
            failed = error.with_traceback(None)  # its frames hold what has filled the memory
        if failed and len(newcomers) > 1 and not _is_fatal(failed):
            self._clear()
            for row in newcomers:
                self._begin([row])
            return
        if failed:
            self._fail(newcomers, failed)
            return
        if self._batch is None or self._next_tokens is None:
            self._batch, self._next_tokens = batch, tokens
        else:
            self._batch.join(batch)
            self._next_tokens = torch.cat([self._next_tokens, tokens])
        with self._changed:
            self._rows += newcomers
        self._give()

    def _read(self, rows: list[Row]) -> tuple[Batch, Tensor]:
        """Compute prompts of any lengths in one go, and choose the token after each."""
        columns = max(len(row.prompt) for row in rows)
        ids = torch.zeros(len(rows), columns, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for number, row in enumerate(rows):
            ids[number, columns - len(row.prompt) :] = torch.tensor(row.prompt)
            mask[number, columns - len(row.prompt) :] = 1
            row.length = len(row.prompt)
            row.sampler = None if row.sampling.plain else Sampler(row.sampling, row.prompt, self._device)
        mask = mask.to(self._device)
        batch = Batch(DynamicCache(config=self._model.config), mask)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        sound = encoder_arguments([clip for row in rows for clip in row.clips], self._device, self._model.dtype)
        return batch, self._choose(rows, self._forward(ids.to(self._device), batch, mask, positions, **sound))

    def _step(self) -> None:
        """Compute one more token of every row that goes on."""
        self._leave()
        if not self._rows:
            return
        assert self._batch is not None
        assert self._next_tokens is not None
        mask, positions = self._batch.grow()
        for row in self._rows:
            row.length += 1
        logits = self._forward(self._next_tokens[:, None], self._batch, mask, positions)
        self._next_tokens = self._choose(self._rows, logits)
        self._give()

    def _forward(self, ids: Tensor, batch: Batch, mask: Tensor, positions: Tensor, **sound: Tensor) -> Tensor:
        """Return the logits after the last column, rows × vocabulary, in float32."""
        answer = self._model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            cache=batch.cache,
            use_cache=True,
            logits_to_keep=1,
            **sound,
        )
        return answer.logits[:, -1].float()  # type: ignore[no-any-return]

    def _choose(self, rows: list[Row], logits: Tensor) -> Tensor:
        tokens = logits.argmax(1)
        for number, row in enumerate(rows):
            if not row.sampler:
                continue
            try:
                tokens[number] = row.sampler.choose(logits[number])
            except BaseException as error:  # what one request asked for is nothing to the others
                if _is_fatal(error):
                    raise
                row.cancelled = True
                row.steps.put(error)
        return tokens

    def _give(self) -> None:
        """Pass the tokens just chosen to rows that do not have theirs yet."""
        assert self._next_tokens is not None
        for row, token in zip(self._rows, self._next_tokens.tolist(), strict=True):
            if row.length != len(row.prompt) + row.given:
                continue
            if token in row.ends:
                row.ended = row.cancelled = True
            elif row.room:
                row.given += 1
                if row.sampler:
                    row.sampler.accept(token)
                row.steps.put(token)

    def _leave(self) -> None:
        """Drop rows that are complete or that nobody reads."""
        staying = [number for number, row in enumerate(self._rows) if row.room]
        if len(staying) == len(self._rows):
            return
        with self._changed:
            gone = [row for row in self._rows if not row.room]
            self._rows = [self._rows[number] for number in staying]
        for row in gone:
            row.steps.put(None)
        if not staying:
            self._batch = self._next_tokens = None
            return
        assert self._batch is not None
        assert self._next_tokens is not None
        self._batch.keep(staying, max(row.length for row in self._rows))
        self._next_tokens = self._next_tokens[torch.tensor(staying, device=self._device)]

    def _forget(self) -> None:
        """Begin anew, with no rows: what was computed of them is lost."""
        self._batch = self._next_tokens = None
        with self._changed:
            self._rows = []
        self._clear()

    def _clear(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _fail(self, rows: list[Row], error: BaseException) -> None:
        """Send rows an error; after one that a GPU does not recover from, end this process: the host starts another."""
        self._log.error("a step failed", error=type(error).__name__, rows=len(rows))
        if _is_out_of_memory(error):
            error = OverloadedError("the device has no memory left for this; send less, or its operator lowers batch_size")
        _tell(rows, error)
        if _is_fatal(error):
            os._exit(1)


def _tell(rows: list[Row], error: BaseException) -> None:
    for row in rows:
        row.steps.put(error)


def _is_out_of_memory(error: BaseException) -> bool:
    """Return whether a step found no memory; of main memory PyTorch (c10/core/impl/alloc_cpu.cpp) tells in words alone."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


def _is_fatal(error: BaseException) -> bool:
    """Return whether the GPU is lost to this process, as after an assertion or a wrong address in a kernel."""
    fatal: Any = getattr(torch, "AcceleratorError", ())  # older ones have no name for it
    return isinstance(error, fatal) and not isinstance(error, torch.OutOfMemoryError)


def _groups(rows: list[Row]) -> Iterator[list[Row]]:
    """Yield rows in groups to read together, each within `READ_AT_ONCE` when its prompts are padded to the longest."""
    group: list[Row] = []
    for row in sorted(rows, key=lambda row: len(row.prompt)):
        if group and len(row.prompt) * (len(group) + 1) > READ_AT_ONCE:
            yield group
            group = []
        group.append(row)
    if group:
        yield group
