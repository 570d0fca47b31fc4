"""A loaded embedding model: requests become pieces for the engine, and what it gives becomes vectors in order."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future

import numpy as np
import torch
from modelhost import (
    BadInputError,
    BatchEngine,
    ComputeThread,
    Context,
    Done,
    EmbedEvent,
    EmbedRequest,
    Log,
    ModelCard,
    Usage,
    Vectors,
)

from modelhost_embedding.batches import Batches, Piece, Row
from modelhost_embedding.checkpoint import check
from modelhost_embedding.encoder import Encoder
from modelhost_embedding.options import EmbeddingOptions
from modelhost_embedding.prompts import Prompts
from modelhost_embedding.sizes import Sizes, unit
from modelhost_embedding.texts import PreparedInput, Texts

ROWS = 64
"""Vectors in one event. Chosen, because 64 vectors of 1024 numbers are 256 KiB."""
CPU_BATCH, GPU_BATCH = 2048, 32768
"""Tokens in one step. Chosen, because they are about a quarter of a second's work of a small model, and a newcomer waits for
that."""
CPU_STEP, GPU_STEP = 32, 1024
"""Tokens that a step costs beyond those it computes. Chosen, because padding to so many takes no longer than another step."""


class EmbeddingModel:
    """The model, its engine, and what holds for every request. Used from many threads at once."""

    def __init__(self, options: EmbeddingOptions, *, threads: int, log: Log, compute: ComputeThread) -> None:
        """Load it on this thread, which is `compute`'s; raises what `Backend.load` may raise."""
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # else every call takes all cores
        torch.set_num_threads(threads)
        folder = options.source.path
        self._size = check(folder)
        if not (folder / "modules.json").is_file():
            log.warning("the model does not say how vectors are made of tokens; their mean is taken", model=folder.name)
        self._encoder = Encoder(folder, options)
        tokens = self._encoder.tokens()
        self._limit = self._shortened(options.max_length, tokens.around)
        self._texts = Texts(
            tokens, limit=self._limit, vocabulary=self._encoder.vocabulary, skips_prompt=self._encoder.skips_prompt
        )
        self._sizes = self._known_sizes(options)
        prompts, default = self._encoder.prompts
        self._prompts = Prompts({**prompts, **options.prompts}, default)
        self._concurrency = options.concurrency
        on_cpu = self._encoder.device == "cpu"
        packed = self._encoder.pack(tokens)
        if on_cpu and not packed:
            log.info(
                "texts are computed with padding, because this model's vectors would change without, or might", model=folder.name
            )
        batches = Batches(
            budget=options.batch_tokens or (CPU_BATCH if on_cpu else GPU_BATCH),
            step=CPU_STEP if on_cpu else GPU_STEP,
            packed=packed,
        )
        self._engine: BatchEngine[Piece, Row] = BatchEngine(
            self._encoder.compute, compute, window=options.window, choose=batches.choose
        )

    def close(self) -> None:
        """Stop computing."""
        self._engine.close()

    def card(self) -> ModelCard:
        """Return what this model can do."""
        return ModelCard(
            features=("token_input", "truncate", "prompts", "title"),
            context_length=self._limit,
            dimensions=self._sizes.trained,
            concurrency=self._concurrency,
            size_bytes=self._size,
            device=self._encoder.device,
        )

    def embed(self, request: EmbedRequest, context: Context) -> Iterator[EmbedEvent]:
        """Yield unit vectors in order; raises `BadInputError` or `UnsupportedError` before the first one."""
        size = self._sizes.choose(request.dimensions)
        prompt = self._prompts.text(request.prompt_name, request.title)
        prepared: list[PreparedInput] = []
        for some in self._texts.prepare(request, prompt):
            prepared += some
            if context.cancelled:
                return
        job = object()
        rows = self._engine.submit_all(job, [Piece(one.tokens, one.skipped) for one in prepared])
        context.on_cancel(lambda: self._engine.drop(job))
        try:
            yield from _vectors(prepared, rows, size)
        except CancelledError:  # by `drop`
            return
        finally:
            self._engine.drop(job)
        yield Done(usage=Usage(input_tokens=sum(len(one.tokens) for one in prepared)))

    def _shortened(self, max_length: int | None, around: int) -> int:
        most = self._encoder.max_tokens
        if max_length is not None and not around < max_length <= most:
            raise BadInputError(f"options.max_length: this model takes {around + 1} to {most} tokens")
        return max_length or most

    def _known_sizes(self, options: EmbeddingOptions) -> Sizes:
        full, family, usual = self._encoder.dimensions, self._encoder.family, self._encoder.usual_dimensions
        trained = {*options.dimensions, *([usual] if usual else [])}
        if family.dimensions and family.dimensions[0] == full:
            trained.update(family.dimensions)
        return Sizes(full, trained, options.default_dimensions or usual)


def _vectors(texts: Sequence[PreparedInput], computed: "Sequence[Future[Row]]", size: int) -> Iterator[Vectors]:
    """Yield what is there as soon as its turn has come; waits for what is not."""
    first = 0
    while first < len(computed):
        rows = [computed[first].result()]
        for row in computed[first + 1 : first + ROWS]:
            if not row.done():
                break
            rows.append(row.result())
        data = unit(np.stack(rows), size).astype("<f4").tobytes()
        last = first + len(rows)
        truncated = tuple(number for number in range(first, last) if texts[number].cut)
        tokens = tuple(len(text.tokens) for text in texts[first:last])
        yield Vectors(first=first, dimensions=size, data=data, truncated=truncated, tokens=tokens)
        first = last
