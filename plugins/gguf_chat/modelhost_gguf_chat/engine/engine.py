"""The thread that computes: takes jobs in, lets a plan decide what the next decode holds, and tells who listens.

One thread owns the context. Others put jobs into an inbox, set flags, and read what comes out.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import llama_cpp
from modelhost import BadInputError, ComputeThread, DeadlineError, Log, NotReadyError, OverloadedError

from modelhost_gguf_chat.engine.batch import Piece
from modelhost_gguf_chat.engine.costs import Costs
from modelhost_gguf_chat.engine.decode import ABORTED, NO_ROOM, Decoder
from modelhost_gguf_chat.engine.figures import Figures
from modelhost_gguf_chat.engine.jobs import Batch, Job, deliver
from modelhost_gguf_chat.engine.plan import Limits, Row, Share, plan
from modelhost_gguf_chat.engine.prefix_files import files_of
from modelhost_gguf_chat.engine.prefixes import Prefixes
from modelhost_gguf_chat.engine.sequences import Sequences
from modelhost_gguf_chat.engine.size import EXACT_TOKENS, may_be_exact, shape_of
from modelhost_gguf_chat.lifetime import UNLOADED, Lifetime
from modelhost_gguf_chat.options import GgufChatOptions
from modelhost_gguf_chat.tokens import Vocabulary
from modelhost_gguf_chat.weights import listen, load_model, reason

LAG_SECONDS = 60.0
"""How long nobody may read an answer that could go on. Chosen: as long as the host's own `write_timeout` for clients at most."""
IDLE_SECONDS = 5.0
"""Without work after which beginnings are written to files. Chosen: longer than people take between two questions costs little,
and whoever unloads seldom does so sooner."""
HOLD_SECONDS = 0.02
"""What an answer has to say is held back for so long at most, while steps are shorter. Chosen, because nobody sees a text grow
more often, and waking readers takes time from a small model's steps: one stream on both of two cores came from 0.88 to 0.96 of
llama-server's tokens a second (benchmarks/gguf_streams.py)."""
DRAFTING = 2
"""Answers at once up to which drafts are tried. Chosen, because rows in a step gain as much as positions, and are never wrong."""
SAVE_SECONDS = 0.4
"""For writing the rest of them when the model is unloaded. Chosen, because unloading may take half a second longer for it."""
WRITTEN = 300e6
"""Bytes a second that are written at least, hashing included. Chosen: what a slow disk's cache took in measurements (trials: 92
MB in 215 ms), and it only decides what is not begun any more."""


class Engine:
    """A loaded model. `submit`, `cancel` and `close` may be called from any thread."""

    def __init__(self, weights: Path, options: GgufChatOptions, *, threads: int, log: Log, model: str = "") -> None:
        """Load and compute one token; raises `NotReadyError` with llama.cpp's reason, `BadInputError` for an option.

        Only under a name of a `model` are beginnings kept in files.
        """
        self._model: Any = None
        self._decoder: Decoder | None = None
        listen(log)
        llama_cpp.llama_backend_init()
        try:
            self._model = load_model(weights, options)
            self.vocabulary = Vocabulary(self._model)
            self.n_ctx, shape, self.parallel = shape_of(self._model, options, log)
            self._decoder = Decoder(self._model, options, shape, threads)
            self._files = files_of(model, weights, options, shape, log)
            prefixes = Prefixes(options.prefix_memory_mb * 2**20, self._files)
            self._sequences = Sequences(self._decoder, shape, self.parallel, prefixes)
            self.exact = self._is_exact(options)
            self._limits = Limits(min(EXACT_TOKENS, shape.batch) if self.exact else shape.batch, float(options.max_gap_ms))
        except BaseException:
            self._free()
            raise
        self._costs = Costs()
        self._figures = Figures()
        self._running: list[Job] = []
        self._waiting: list[Job] = []
        self._callers: dict[str, int] = {}
        """Number of the last step that computed something of a caller's prompt."""
        self._steps = 0
        self._unsaved = False
        self._speculates = options.speculation and self._decoder.cuts
        self._log = log
        self._inbox: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        """Jobs; None only wakes."""
        self._outbox: queue.SimpleQueue[list[Batch] | None] = queue.SimpleQueue()
        """What each step has to tell; None after the last."""
        self._lifetime = Lifetime()
        self._serving: Future[None] | None = None

    def _is_exact(self, options: GgufChatOptions) -> bool:
        """See that the model computes, and whether each answer comes out to the bit as it would alone."""
        assert self._decoder is not None
        try:
            alike = self._decoder.rounds_alike(max(self.vocabulary.bos, 0))
        except RuntimeError as error:
            raise NotReadyError(f"llama.cpp loaded the model but cannot compute with it: {error}", retry=False) from None
        able = alike and may_be_exact(options)
        if options.exact and not able:
            raise BadInputError(
                'exact = true takes a CPU (n_gpu_layers = 0), kv = "split", flash attention, and quantised weights; '
                "change these, or leave it out",
                param="exact",
            )
        return able and options.exact is not False

    def start(self, compute: ComputeThread) -> None:
        """Serve jobs on this thread, the one that the engine was made on, until `close`."""
        threading.Thread(target=self._deliver, name="modelhost-answers", daemon=True).start()
        self._serving = compute.submit(self._serve)

    @property
    def model(self) -> Any:
        """llama.cpp's pointer to the weights: for questions about them, not for computing."""
        return self._model

    def measures(self) -> dict[str, float]:
        """Return what it measures of itself, for any thread."""
        return {
            **self._figures.all(),
            "running": float(len(self._running)),
            "waiting": float(len(self._waiting)),
            "cells_used": float(self._sequences.used),
            "cells": float(self._sequences.capacity),
            "reused_tokens": float(self._sequences.reused),
            "evictions": float(self._sequences.evicted),
        }

    def submit(self, job: Job) -> None:
        """Queue a job. Raises `NotReadyError` when unloading has begun."""
        with self._lifetime.use():
            self._inbox.put(job)

    def cancel(self, jobs: Iterable[Job]) -> None:
        """Compute nothing more of these jobs, from the next step on; nothing happens to those that are over."""
        for job in jobs:
            job.cancelled = True
        self._inbox.put(None)

    def wake(self) -> None:
        """Have the engine look at its rows again: somebody reads who did not."""
        self._inbox.put(None)

    def in_use(self) -> AbstractContextManager[None]:
        """Keep the weights, and so the vocabulary, from being freed; see `Lifetime.use`. Not for the engine's own thread."""
        return self._lifetime.use()

    def close(self) -> None:
        """End what runs, and free context and weights."""
        if not self._lifetime.end():
            return
        if self._decoder:
            self._decoder.abort()
        self._inbox.put(None)
        if self._serving:
            self._serving.result()
        else:
            self._free()

    def _deliver(self) -> None:
        """Deliver what steps have to tell, while the next one is computed: waking readers would give them the interpreter."""
        while (batches := self._outbox.get()) is not None:
            deliver(batches)

    # On the engine's thread.

    def _serve(self) -> None:
        try:
            idle = True
            while self._listen(wait=idle):
                try:
                    idle = not self._step()
                except Exception as error:  # a fault of ours: those who run are told, and who comes finds a sound engine
                    self._log.error("a step failed", error=type(error).__name__)
                    for job in [*self._running]:
                        self._fail(job, error)
        finally:
            self._end()

    def _step(self) -> bool:
        """Compute a step, if there is anything to compute; returns whether anything was done."""
        admitted = self._admit()
        self._guess()
        rows = [self._row(job) for job in self._running if not job.listener.lag()]
        if rows:
            self._compute(plan(rows, self._costs, self._limits))
        return bool(rows) or admitted

    def _listen(self, *, wait: bool) -> bool:
        """Take what came in, after waiting for it if there is nothing to do; false when the engine is to end."""
        if wait:
            self._wait()
        while not self._inbox.empty():
            self._take(self._inbox.get())
        self._drop()
        return not self._lifetime.over

    def _wait(self) -> None:
        """Wait for whatever comes, and write beginnings to files meanwhile."""
        try:
            # Whoever is not read is looked at again when its time is over.
            patience = LAG_SECONDS if self._running or self._waiting else IDLE_SECONDS if self._unsaved else None
            self._take(self._inbox.get(timeout=patience))
        except queue.Empty:
            self._unsaved = False
            self._save(until=None)

    def _save(self, *, until: float | None) -> None:
        """Write beginnings to files, those used last first, until somebody comes or the time is over."""
        files = self._files
        if not files:
            return
        room = files.most_bytes
        for prefix in self._sequences.kept(files.has):
            room -= len(prefix.state)
            late = until is not None and time.monotonic() + len(prefix.state) / WRITTEN > until
            if room < 0 or late or (until is None and not self._inbox.empty()):
                return
            try:
                files.write(prefix)
            except OSError as error:
                self._log.debug("a beginning could not be kept in a file", error=str(error))
                return

    def _take(self, job: Job | None) -> None:
        if job is not None:
            self._steps += 1
            job.arrived = self._steps
            self._waiting.append(job)

    def _drop(self) -> None:
        """Let go of jobs that nobody wants, or that nobody reads."""
        for job in [job for job in self._running if job.cancelled]:
            self._retire(job)
        self._waiting = [job for job in self._waiting if not job.cancelled]
        begun = [job for job in (*self._running, *self._waiting) if job.started]
        for job in [job for job in begun if job.listener.lag() > LAG_SECONDS]:
            self._fail(job, DeadlineError(f"nobody has read this answer for {LAG_SECONDS:.0f} seconds"))

    def _admit(self) -> bool:
        """Give sequences to those who wait, callers in turn, as far as there is room; returns whether there was a change."""
        admitted = False
        for job in sorted(self._waiting, key=lambda job: (-job.priority, self._callers.get(job.caller, 0), job.arrived)):
            if self._follows(job) or (job.started and job.listener.lag()):
                continue
            if not (self._sequences.place(job) or (self._suspend() and self._sequences.place(job))):
                break
            admitted = True
            self._waiting.remove(job)
            self._running.append(job)
            self._callers[job.caller] = self._steps
            if not job.started:
                job.started = True
                job.listener.begin(job.computed)
        return admitted

    def _suspend(self) -> bool:
        """Take the sequence of a job that nobody reads, which waits until somebody does; false where all are read."""
        job = next((job for job in self._running if job.listener.lag()), None)
        if job is None:
            return False
        self._retire(job)
        job.computed = 0
        self._waiting.append(job)
        self._outbox.put([job.listener.flushed()])
        return True

    def _follows(self, job: Job) -> bool:
        """Whether a job is better off when it waits for another's prompt, whose beginning it has in common."""
        return any(
            other.left > 1
            and other.caller == job.caller
            and not other.listener.lag()
            and self._sequences.worth_waiting(job, other)
            for other in self._running
        )

    def _row(self, job: Job) -> Row:
        assert job.sequence is not None
        caller_served = self._callers.get(job.caller, 0)
        # Of what cannot be cut the prompt is kept without its last token, which gives the logits and so is always computed.
        left = job.left if self._sequences.cut_anywhere else max(1, job.left - 1)
        return Row(job.sequence, left, job.arrived, job.served, job.caller, caller_served, job.priority, len(job.draft))

    def _guess(self) -> None:
        """Let answers be guessed where few are written: more rows in a step leave no time for drafts."""
        writing = [job for job in self._running if job.left == 1]
        for job in writing:
            guessing = self._speculates and len(writing) <= DRAFTING
            job.draft = job.drafts.propose(job.tokens, self._costs, self._limits.tokens - 1) if guessing else job.tokens[:0]

    def _compute(self, shares: list[Share]) -> None:
        """Compute a step and tell who listens."""
        assert self._decoder is not None
        jobs = {job.sequence: job for job in self._running}
        chosen = [(jobs[share.sequence], share) for share in shares]
        if not self._make_room(sum(share.size for share in shares)):
            return
        pieces = [_piece(job, share) for job, share in chosen]
        began = time.perf_counter()
        code = self._decoder.decode(pieces)
        if code:
            self._figures.decode_failures += 1
            self._recover(code, chosen)
            return
        rows = self._decoder.logits(count) if (count := sum(piece.outputs for piece in pieces)) else ()
        self._steps += 1
        took = time.perf_counter() - began
        self._costs.note(sum(share.size for share in shares), took * 1000)
        self._figures.decoded(len(shares), took)
        at = 0
        for (job, share), piece in zip(chosen, pieces, strict=True):
            if share.size - share.drafts > 1:
                self._callers[job.caller] = self._steps
                self._figures.prompt_tokens += share.size
            job.served = self._steps
            job.computed += share.size
            job.failed = False
            self._sequences.extend(job, piece.tokens)
            if job.computed == job.prompt - 1:
                self._sequences.keep(job)
            if piece.outputs:
                self._advance(job, rows[at : at + piece.outputs])
                at += piece.outputs
        # Short steps have something to say more often than anybody can read; what is held back leaves with a later one.
        hurried = took < HOLD_SECONDS and not self._waiting and all(job.left == 1 for job in self._running)
        due = [job.listener for job, _ in chosen if not (hurried and job.listener.sent_within(HOLD_SECONDS))]
        if due:
            self._outbox.put([listener.flushed() for listener in due])

    def _advance(self, job: Job, rows: Any) -> None:
        """Choose the next tokens of an answer: one, and one more for each of the draft that was right."""
        draft, job.draft = job.draft, job.tokens[:0]
        right = 0
        try:
            if job.scores_prompt and not job.produced:
                rows = self._score(job, rows)
                if not len(rows):
                    return
            over = self._choose(job, rows[0])
            while not over and right < len(draft) and job.tokens[-1] == draft[right]:
                right += 1
                over = self._choose(job, rows[right])
            if draft:
                job.computed -= len(draft) - right
                self._sequences.rewind(job)
                self._figures.draft_tokens += len(draft)
                self._figures.draft_tokens_right += right
                job.drafts.note(len(draft), right, len(job.tokens), self._costs)
            if over:
                self._retire(job)
        except BaseException as error:  # whatever it is, it is for the one who reads, and the others go on
            self._fail(job, error)

    def _score(self, job: Job, rows: Any) -> Any:
        """Tell how likely tokens of a prompt were; returns what is left of the rows: the last of the prompt, if it is there."""
        first = job.computed - len(rows) + 1
        for at, row in enumerate(rows):
            if first + at < job.prompt:
                job.listener.scored(job.tokens[first + at], row)
        return rows[-1:] if job.computed == job.prompt else rows[:0]

    def _choose(self, job: Job, logits: Any) -> bool:
        """Choose the next token of an answer; returns whether it is over."""
        if not job.produced:
            job.listener.read()
        if not job.most:
            job.listener.end(by_model=False)
            return True
        before = logits.copy() if job.keeps_logits else None
        token = job.sampler.sample(logits)
        job.produced += 1
        self._figures.output_tokens += 1
        if self.vocabulary.ends(token):
            job.listener.end(by_model=True)
            return True
        job.tokens.append(token)
        if job.listener.token(token, before):
            return True
        if job.produced == job.most:
            job.listener.end(by_model=False)
        return job.produced == job.most

    # Where there is no room, and where computing fails.

    def _make_room(self, count: int) -> bool:
        """See that there are cells for so many tokens; false where that changed who runs."""
        same = True
        while self._sequences.lack(count) and self._preempt():
            same = False
        return same

    def _preempt(self) -> bool:
        """Let a job wait again, one that nobody reads or else the youngest; false if there is no other to go on with."""
        if len(self._running) < 2:
            return False
        job = max(self._running, key=lambda job: (job.listener.lag() > 0, job.arrived))
        self._running.remove(job)
        self._sequences.clear(job)
        self._waiting.append(job)
        self._outbox.put([job.listener.flushed()])
        self._figures.preemptions += 1
        return True

    def _recover(self, code: int, chosen: list[tuple[Job, Share]]) -> None:
        """Go on after a decode that did not work: whatever was in it is at its last known place again."""
        if code == NO_ROOM and (self._sequences.evict() or self._preempt()):
            return
        for job, _ in chosen:
            self._sequences.rewind(job)
        if code == ABORTED:
            return
        if len(chosen) > 1:
            for job, share in chosen:  # one of them is to blame, and the others must not pay for it
                if job in self._running and job.computed + share.size - share.drafts <= len(job.tokens):
                    self._compute([share])
            return
        job = chosen[0][0]
        if not job.failed:  # once more, as what was wrong may be over
            job.failed = True
            return
        if code == NO_ROOM:
            self._fail(job, OverloadedError("the KV cache has no room for this request; try again in a moment"))
        else:
            self._fail(job, RuntimeError(f"llama_decode answered {code}{reason()}"))

    def _retire(self, job: Job) -> None:
        self._unsaved = self._files is not None
        self._running.remove(job)
        self._sequences.retire(job)

    def _fail(self, job: Job, error: BaseException) -> None:
        if job in self._running:
            self._running.remove(job)
            self._sequences.clear(job)
        elif job in self._waiting:
            self._waiting.remove(job)
        self._tell(job, error)

    def _tell(self, job: Job, error: BaseException) -> None:
        job.listener.fail(error)
        self._outbox.put([job.listener.flushed()])

    def _end(self) -> None:
        """Tell whoever still waits, and free everything."""
        while not self._inbox.empty():
            self._take(self._inbox.get())
        for job in (*self._running, *self._waiting):
            self._tell(job, NotReadyError(UNLOADED))
        self._outbox.put(None)
        for job in self._running:
            self._sequences.retire(job)
        with contextlib.suppress(Exception):  # what is lost is time only
            self._save(until=time.monotonic() + SAVE_SECONDS)
        self._running, self._waiting = [], []
        self._lifetime.end()
        self._lifetime.wait_for_users()
        self._free()

    def _free(self) -> None:
        if self._decoder:
            self._decoder.close()
            self._decoder = None
        if self._model:
            llama_cpp.llama_model_free(self._model)
            self._model = None


def _piece(job: Job, share: Share) -> Piece:
    assert job.sequence is not None
    end = job.computed + share.size - share.drafts
    tokens = job.tokens[job.computed : end]
    if share.drafts:
        tokens += job.draft
    else:
        job.draft = job.tokens[:0]
    if job.scores_prompt and job.computed < job.prompt:
        return Piece(job.sequence, job.computed, tokens, len(tokens))
    return Piece(job.sequence, job.computed, tokens, 1 + share.drafts if end == len(job.tokens) else 0)
