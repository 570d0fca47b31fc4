"""A loaded model that turns texts into vectors."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future

import numpy as np
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
    UnsupportedError,
    Usage,
    Vectors,
)
from numpy.typing import NDArray

from modelhost_gguf_chat.embedder import TEXTS, Embedder
from modelhost_gguf_chat.lifetime import Lifetime
from modelhost_gguf_chat.options import GgufChatOptions
from modelhost_gguf_chat.weights import Weights, device_of

CONCURRENCY = 16
"""Requests at once. Chosen, because each has one step at a time in the line, so a long one delays another by one step of its
own."""
MAX_TEXT = 1024 * 1024
"""Characters of one text. Chosen, because some tokenizers take time by the square of it, and none can be stopped."""
EVERYWHERE = ("query", "document", "clustering")
"""Names of prompts every model takes, with nothing before the text where the options have no such prompt."""
SMALLEST = 1e-12
"""A vector is divided by at least this: the `eps` of `torch.nn.functional.normalize`."""


class EmbeddingModel:
    """A GGUF model, ready to embed. Texts of all requests share steps, and requests have turns."""

    def __init__(self, weights: Weights, options: GgufChatOptions, *, threads: int, log: Log, compute: ComputeThread) -> None:
        """Load it; raises what `Backend.load` may raise."""
        self._options = options
        self._size = weights.size
        self._embedder = Embedder(weights.file, options, pooled=weights.embeds, threads=options.threads or threads, log=log)
        self._vocabulary = self._embedder.vocabulary
        full = self._embedder.dimensions
        self._dimensions = (full, *sorted({*options.dimensions} - {full}, reverse=True))
        if max(self._dimensions) > full:
            self._embedder.close()
            raise BadInputError(f"options.dimensions: this model's vectors have {full} dimensions, and none can be added")
        self._before, self._after = self._around()
        self._compute = compute
        self._lifetime = Lifetime()
        self._engine: BatchEngine[list[int], NDArray[np.float32]] = BatchEngine(
            lambda texts: [*self._embedder.compute(texts)],
            compute,
            batch=TEXTS,
            window=TEXTS,
            choose=_fitting(self._embedder.n_ctx),
        )

    def close(self) -> None:
        """Stop after the step that is being computed, and free everything."""
        if self._lifetime.end():
            self._engine.close()
            self._lifetime.wait_for_users()
            self._compute.run(self._embedder.close)

    def card(self) -> ModelCard:
        """Return what this model can do."""
        return ModelCard(
            abilities=("embed",),
            features=("token_input", "truncate", "prompts"),
            context_length=self._embedder.n_ctx,
            dimensions=self._dimensions,
            concurrency=CONCURRENCY,
            size_bytes=self._size,
            device=device_of(self._options),
        )

    def measures(self) -> dict[str, float]:
        """Return nothing: requests and tokens are in the host's own metrics."""
        return {}

    def embed(self, request: EmbedRequest, context: Context) -> Iterator[EmbedEvent]:
        """Yield unit vectors in order; raises `BadInputError` or `UnsupportedError` before the first one."""
        size = self._size_of(request.dimensions)
        with self._lifetime.use():
            texts = self._prepared(request, context)
        job = object()
        futures = self._engine.submit_all(job, [tokens for tokens, _ in texts])
        context.on_cancel(lambda: self._engine.drop(job))
        first = 0
        while first < len(texts) and not context.cancelled:
            try:
                rows = _together(futures[first : first + TEXTS])
            except CancelledError:
                return
            numbers = range(first, first + len(rows))
            yield Vectors(
                first=first,
                dimensions=size,
                data=_unit(np.stack(rows), size).tobytes(),
                truncated=tuple(number for number in numbers if texts[number][1]),
                tokens=tuple(len(texts[number][0]) for number in numbers),
            )
            first += len(rows)
        if not context.cancelled:
            yield Done(usage=Usage(input_tokens=sum(len(tokens) for tokens, _ in texts)))

    def _size_of(self, dimensions: int | None) -> int:
        if dimensions is None:
            return self._dimensions[0]
        if dimensions not in self._dimensions:
            known = " or ".join(map(str, self._dimensions))
            raise BadInputError(f"this model's vectors have {known} dimensions; ask for these", param="dimensions")
        return dimensions

    def _prompt(self, request: EmbedRequest) -> str:
        if request.title is not None:
            raise UnsupportedError("this model has no place for a title; put it into the text", param="title")
        name, prompts = request.prompt_name, self._options.prompts
        if name is None or (name not in prompts and name in EVERYWHERE):
            return ""
        if name not in prompts:
            known = ", ".join(dict.fromkeys((*EVERYWHERE, *sorted(prompts))))
            raise BadInputError(f"this model has no prompt of that name; it has {known}", param="prompt_name")
        return prompts[name]

    def _prepared(self, request: EmbedRequest, context: Context) -> list[tuple[list[int], bool]]:
        """Return the tokens of each input and whether they were cut; of those looked at before the caller left."""
        prompt = self._prompt(request)
        if not request.inputs:
            raise BadInputError("there is no input; send at least one text", param="input")
        texts = []
        for number, given in enumerate(request.inputs):
            if context.cancelled:
                break
            body = self._body(given, number, prompt)
            texts.append(self._fitted(body, number, truncate=request.overlong == "truncate"))
        return texts

    def _body(self, given: str | tuple[int, ...], number: int, prompt: str) -> list[int]:
        """Return the tokens of an input, without what stands around every text."""
        if not given:
            raise BadInputError(f"input {number} is empty; leave it out", param="input")
        if isinstance(given, str):
            if len(given) > MAX_TEXT:
                raise BadInputError(f"input {number} has {len(given)} characters, {MAX_TEXT} are allowed", param="input")
            return self._vocabulary.tokenize(prompt + given)
        if prompt:
            raise BadInputError(
                "a prompt goes with a text, not with tokens; send the text, or leave the prompt out", param="input"
            )
        if any(not 0 <= token < self._vocabulary.size for token in given):
            raise BadInputError(f"input {number}: this model's tokens are 0 to {self._vocabulary.size - 1}", param="input")
        body = list(given)
        end = len(body) - len(self._after)
        wrapped = end >= len(self._before) and body[: len(self._before)] == self._before and body[end:] == self._after
        return body[len(self._before) : end] if wrapped else body

    def _fitted(self, body: list[int], number: int, *, truncate: bool) -> tuple[list[int], bool]:
        around, limit = len(self._before) + len(self._after), self._embedder.n_ctx
        cut = len(body) + around > limit
        if cut and not truncate:
            raise BadInputError(
                f"input {number} has {len(body) + around} tokens, and this model takes {limit}; "
                "shorten it, or set truncate to true in the request",
                code="context_length_exceeded",
                param="input",
            )
        return [*self._before, *body[: limit - around], *self._after], cut

    def _around(self) -> tuple[list[int], list[int]]:
        """Find out what stands before and after every text."""
        plain, whole = (self._vocabulary.tokenize("a", add_special=special) for special in (False, True))
        at = next(at for at in range(len(whole)) if whole[at : at + len(plain)] == plain)
        return whole[:at], whole[at + len(plain) :]


def _together(futures: Sequence["Future[NDArray[np.float32]]"]) -> list[NDArray[np.float32]]:
    """Wait for the first of these rows, and return it with those after it that are there."""
    rows = [futures[0].result()]
    for future in futures[1:]:
        if not future.done():
            break
        rows.append(future.result())
    return rows


def _fitting(most: int) -> Callable[[Sequence[list[int]]], Iterator[int]]:
    """Return what chooses texts for a step: as many in turn as have `most` tokens together; the first always."""

    def choose(texts: Sequence[list[int]]) -> Iterator[int]:
        left = most
        for number, tokens in enumerate(texts):
            if number and len(tokens) > left:
                return
            left -= len(tokens)
            yield number

    return choose


def _unit(rows: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Cut rows to their first `size` numbers and bring them to length 1, in this order; little-endian float32."""
    cut = rows[:, :size]
    ones: NDArray[np.float32] = cut / np.maximum(np.linalg.norm(cut, axis=1, keepdims=True), SMALLEST)
    return ones.astype("<f4")
