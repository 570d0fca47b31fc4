"""The model that writes: asked through the host, as any caller could."""

from collections.abc import Iterator

from modelhost import (
    BackendFailedError,
    BadInputError,
    CallCycleError,
    Context,
    Delta,
    Done,
    FinishReason,
    GenerateRequest,
    Message,
    ModelhostError,
    NotReadyError,
    SummarizeRequest,
    TokenizeRequest,
    Tokens,
    UnknownModelError,
    UnsupportedError,
    Usage,
)

TOO_LONG = "context_length_exceeded"
"""The code of an error that says a prompt does not fit."""

CHARACTERS_A_TOKEN = 3
"""Characters of a token where a generator cannot count. Chosen, because most texts have more, so that parts rather come out too
small."""

SAMPLE = 16 * 1024
"""Characters whose tokens are counted to know those of a text. Chosen, because some thousand words are typical of the rest."""


class CallerGoneError(Exception):
    """Nobody wants the summary any more."""


class TextGenerator:
    """The generator of one request; counts what all of its answers cost."""

    def __init__(self, name: str, request: SummarizeRequest, context: Context, *, temperature: float | None) -> None:
        self._name = name
        self._request = request
        self._context = context
        self._temperature = temperature if request.temperature is None else request.temperature
        self.usage = Usage()
        """Of all answers so far."""
        self.reason: FinishReason = "stop"
        """How the last answer ended."""
        self.ignored: tuple[str, ...] = ()
        """Fields of the request that this generator has nothing for."""

    def write(self, messages: tuple[Message, ...], max_tokens: int) -> Iterator[str]:
        """Yield the answer as it comes. Raises `ModelhostError` in words for the summarizer's caller, and `CallerGoneError`."""
        generate_request = GenerateRequest(
            messages=messages,
            max_tokens=max_tokens,
            temperature=self._temperature,
            enable_safety=self._request.enable_safety and "enable_safety" not in self.ignored,
        )
        try:
            yield from self._answer(generate_request)
        except UnsupportedError as error:
            if error.param != "enable_safety":
                raise self._translated(error) from None
            # A model that filters nothing has nothing to set for it: who asked is told, and has the summary all the same.
            self.ignored = ("enable_safety",)
            yield from self.write(messages, max_tokens)
        except ModelhostError as error:
            raise self._translated(error) from None

    def _answer(self, generate_request: GenerateRequest) -> Iterator[str]:
        done = None
        with self._context.host.call("generate", self._name, generate_request) as events:
            for event in events:
                if isinstance(event, Delta) and event.text:
                    yield event.text
                elif isinstance(event, Done):
                    done = event
        if done is None:
            raise CallerGoneError
        self.usage += done.usage
        self.reason = done.reason

    def characters_a_token(self, text: str) -> float:
        """Return how many characters of this text a token has, by counting where the generator can."""
        sample = text[:SAMPLE]
        try:
            with self._context.host.call("tokenize", self._name, TokenizeRequest(text=sample, add_special=False)) as events:
                counted = sum(len(event.tokens) for event in events if isinstance(event, Tokens))
        except (UnsupportedError, BadInputError):
            return CHARACTERS_A_TOKEN
        return max(1, len(sample)) / counted if counted else CHARACTERS_A_TOKEN

    def _translated(self, error: ModelhostError) -> ModelhostError:
        """Put an error into the words of a summary's request: the caller knows a text and a generator, and no messages."""
        unusable = isinstance(error, (UnknownModelError, CallCycleError)) or _cannot_generate(error)
        if unusable and self._request.generator:
            return BadInputError(f"this generator cannot be used: {error.message}", param="generator", code=error.code)
        if unusable:
            message = f"the generator in this model's options cannot be used: {error.message}"
            return NotReadyError(message, code=error.code, retry=False)
        if isinstance(error, BadInputError) and error.param == "model":  # there are several, and no route says which
            return BadInputError(f"name a `generator`: {error.message}", param="generator", code=error.code)
        if isinstance(error, BadInputError) and error.param == "messages":
            return ModelhostError.from_facts({**error.facts(), "param": "text"})
        return error


def failed_without_words(reason: FinishReason) -> ModelhostError:
    """Make the error for a generator that says nothing, by how its answer ended."""
    if reason == "content_filter":
        message = "the generator's own filter let nothing of the summary through; name another generator"
        return BadInputError(message, param="text", code="content_filter")
    return BackendFailedError("the generator's answer was empty; raise max_tokens, or name another generator", retry=True)


def _cannot_generate(error: ModelhostError) -> bool:
    return isinstance(error, UnsupportedError) and error.param == "model"
