"""Text to tokens and back: what a text or a chat costs, without answering it."""

from modelhost.contract.types.events import Done, Event
from modelhost.contract.types.generate import Message, continues
from modelhost.contract.types.request import Request


class TokenizeRequest(Request):
    """What to cut into tokens, `text` or `messages`; or `tokens`, to turn back into text. Just one of the three."""

    text: str | None = None
    messages: tuple[Message, ...] = ()
    """A chat, written by the model's template and ready for the answer: the very prompt that `generate` would make of it."""
    tokens: tuple[int, ...] | None = None
    add_generation_prompt: bool | None = None
    """Of a chat, as in `GenerateRequest`."""
    continue_final_message: bool | None = None
    """Of a chat, as in `GenerateRequest`."""
    add_special: bool = True
    """Begin `text` as a prompt of this model begins, with BOS where it wants one; of chats the template decides."""
    parse_special: bool = False
    """Take the names of control tokens in `text` for the tokens; else they are characters like any others."""

    def __post_init__(self) -> None:
        """Raise ValueError for a request for nothing, and for one for two things."""
        if (self.text is not None) + bool(self.messages) + (self.tokens is not None) != 1:
            raise ValueError("give one of text, messages and tokens")

    @property
    def continues(self) -> bool:
        """Whether the answer would go on with the last message, as in `GenerateRequest`."""
        return continues(self.messages, self.continue_final_message, self.add_generation_prompt)


class Tokens(Event):
    """The whole answer, or a part of it: where there are several, each goes on where the one before ended."""

    tokens: tuple[int, ...]
    text: str = ""
    """What the request's `tokens` say: control tokens by name, bytes that are no character as U+FFFD; else empty."""
    pieces: tuple[bytes, ...] = ()
    """The bytes of each token, which need not be whole characters; a control token's are its name. Empty where unknown."""


TokenizeEvent = Tokens | Done
