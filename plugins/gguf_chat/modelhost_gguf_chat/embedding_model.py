"""A loaded model that turns texts into vectors."""

from collections.abc import Callable, Iterator, Sequence
from typing import ParamSpec, TypeVar

import numpy as np
from modelhost import (
    BadInputError,
    ComputeThread,
    Context,
    Done,
    EmbedEvent,
    EmbedRequest,
    Log,
    ModelCard,
    NotReadyError,
    UnsupportedError,
    Usage,
    Vectors,
)
from numpy.typing import NDArray

from modelhost_gguf_chat.embedder import TEXTS, Embedder
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

UNLOADED = "this model is being unloaded; send the request again"

P = ParamSpec("P")
T = TypeVar("T")


class EmbeddingModel:
    """A GGUF model, ready to embed. The compute thread does everything with llama.cpp, in the order it is asked."""

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
        self._closed = False

    def close(self) -> None:
        """Stop after the step that is being computed, and free everything."""
        self._closed = True
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
        texts = self._in_turn(self._prepared, request, context)
        first = 0
        for step in _steps([tokens for tokens, _ in texts], self._embedder.n_ctx):
            if context.cancelled:
                return
            rows = self._in_turn(self._embedder.compute, step)
            truncated = tuple(number for number in range(first, first + len(step)) if texts[number][1])
            tokens = tuple(map(len, step))
            yield Vectors(first=first, dimensions=size, data=_unit(rows, size).tobytes(), truncated=truncated, tokens=tokens)
            first += len(step)
        yield Done(usage=Usage(input_tokens=sum(len(tokens) for tokens, _ in texts)))

    def _in_turn(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run something with llama.cpp when everybody who came before has had a turn."""

        def unless_closed() -> T:
            if self._closed:
                raise NotReadyError(UNLOADED)
            return work(*args, **kwargs)

        if self._closed:  # and the thread may have ended
            raise NotReadyError(UNLOADED)
        return self._compute.run(unless_closed)

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


def _steps(texts: Sequence[list[int]], most: int) -> Iterator[list[list[int]]]:
    """Yield texts in order, as many at a time as have `most` tokens together, and at least one."""
    step: list[list[int]] = []
    left = most
    for tokens in texts:
        if step and (len(tokens) > left or len(step) == TEXTS):
            yield step
            step, left = [], most
        step.append(tokens)
        left -= len(tokens)
    if step:
        yield step


def _unit(rows: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Cut rows to their first `size` numbers and bring them to length 1, in this order; little-endian float32."""
    cut = rows[:, :size]
    ones: NDArray[np.float32] = cut / np.maximum(np.linalg.norm(cut, axis=1, keepdims=True), SMALLEST)
    return ones.astype("<f4")
