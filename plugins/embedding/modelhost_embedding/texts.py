"""A request's inputs, checked and made ready for the model."""

from collections.abc import Iterator
from dataclasses import dataclass

from modelhost import BadInputError, EmbedRequest

from modelhost_embedding.tokens import Tokens

MAX_CHARACTERS = 1 << 20
"""Characters of one text. Chosen, because some tokenizers take time by the square of it, and none can be stopped."""
TOKENIZED_AT_ONCE = 32
"""Texts that are tokenized between two checks for cancellation. Chosen, because they take milliseconds."""

Input = str | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PreparedInput:
    """One input as the model reads it."""

    tokens: list[int]
    cut: bool
    """Whether there were more."""
    skipped: int
    """Tokens at the start that the vector is not made of."""


class Texts:
    """Makes tokens of inputs; safe to use from any thread."""

    def __init__(self, tokens: Tokens, *, limit: int, vocabulary: int, skips_prompt: bool) -> None:
        """Take what the model's texts must keep to.

        `limit` is the number of tokens an input may have with all that stands around it, `vocabulary` how many tokens there are,
        and `skips_prompt` whether vectors are made of what follows the prompt alone.
        """
        self._tokens = tokens
        self._limit = limit
        self._vocabulary = vocabulary
        self._skips_prompt = skips_prompt

    def prepare(self, request: EmbedRequest, prompt: str) -> Iterator[list[PreparedInput]]:
        """Yield the inputs in order, some at a time; `prompt` comes before each text.

        Raises `BadInputError` naming the input that is empty, too long or not of this model's tokens.
        """
        if not request.inputs:
            raise BadInputError("there is no input; send at least one text", param="input")
        prompt_requested = bool(prompt) and (request.prompt_name is not None or request.title is not None)
        skipped = self._skipped(prompt)
        for start in range(0, len(request.inputs), TOKENIZED_AT_ONCE):
            some = dict(enumerate(request.inputs[start : start + TOKENIZED_AT_ONCE], start))
            for number, input_ in some.items():
                self._check(input_, number, prompt_requested)
            bodies = self._bodies(some, prompt)
            yield [
                self._fit(bodies[number], number, request.overlong == "truncate", skipped if isinstance(input_, str) else 0)
                for number, input_ in some.items()
            ]

    def _skipped(self, prompt: str) -> int:
        if not (prompt and self._skips_prompt):
            return 0
        return len(self._tokens.before) + len(self._tokens.plain([prompt])[0])

    def _check(self, input_: Input, number: int, prompt_requested: bool) -> None:
        if not input_:
            raise BadInputError(f"input {number} is empty; leave it out", param="input")
        if isinstance(input_, str):
            if len(input_) > MAX_CHARACTERS:
                raise BadInputError(
                    f"input {number} has {len(input_)} characters, {MAX_CHARACTERS} are allowed; send it in parts", param="input"
                )
        elif any(not 0 <= token < self._vocabulary for token in input_):
            raise BadInputError(f"input {number}: this model's tokens are 0 to {self._vocabulary - 1}", param="input")
        elif prompt_requested:
            raise BadInputError(
                "a prompt goes with a text, not with tokens; send the text, or leave the prompt out", param="input"
            )

    def _bodies(self, some: dict[int, Input], prompt: str) -> dict[int, list[int]]:
        """Return the tokens of inputs by number, without what stands around every text."""
        texts = {number: prompt + input_ for number, input_ in some.items() if isinstance(input_, str)}
        bodies = dict(zip(texts, self._tokens.plain(list(texts.values())), strict=True)) if texts else {}
        return bodies | {number: self._bare(input_) for number, input_ in some.items() if not isinstance(input_, str)}

    def _bare(self, input_: tuple[int, ...]) -> list[int]:
        """Take off what stands around every text, where the caller has put it there."""
        before, after = self._tokens.before, self._tokens.after
        body = list(input_)
        end = len(body) - len(after)
        wrapped = end >= len(before) and body[: len(before)] == before and body[end:] == after
        return body[len(before) : end] if wrapped else body

    def _fit(self, body: list[int], number: int, truncate: bool, skipped: int) -> PreparedInput:
        capacity = self._limit - self._tokens.around
        cut = len(body) > capacity
        if cut and not truncate:
            raise BadInputError(
                f"input {number} has {len(body) + self._tokens.around} tokens, and this model takes {self._limit}; "
                "shorten it, or set truncate to true in the request",
                code="context_length_exceeded",
                param="input",
            )
        return PreparedInput([*self._tokens.before, *body[:capacity], *self._tokens.after], cut, skipped)
