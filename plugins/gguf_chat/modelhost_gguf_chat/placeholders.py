"""Messages as a chat template sees them: placeholders, so that nobody can write control tokens into a prompt.

A `Hidden` string consists of a placeholder nobody can guess, and behaves like the text it stands for: a template that
trims it, splits it, or looks for something in it works on the text and gets hidden strings back. After rendering, the
places where placeholders stand are where the words of messages stand.
"""

import re
import secrets
from collections.abc import Callable, Iterator
from typing import Any

from modelhost_gguf_chat.tokens import Piece

OPEN, CLOSE = "\ue000", "\ue001"
"""Private-use characters, which no template has in its own words."""


class DamagedError(Exception):
    """A template cut a placeholder to pieces, so that where a message's words stand is no longer known."""


class Placeholders:
    """The hidden texts of one request."""

    def __init__(self) -> None:
        nonce = str(secrets.randbits(64))  # digits: changing case leaves them as they are
        self._prefix = f"{OPEN}{nonce}."
        self._pattern = re.compile(rf"{OPEN}{nonce}\.(\d+){CLOSE}")
        self._texts: list[str] = []

    def hide(self, text: str) -> "Hidden":
        """Give a string that stands for `text`; it is empty if and only if the text is."""
        return Hidden(self, text)

    def hide_all(self, value: Any) -> Any:
        """Hide every string inside lists, tuples and dictionaries."""
        if isinstance(value, str):
            return value if isinstance(value, Hidden) else self.hide(value)
        if isinstance(value, dict):
            return {self.hide_all(key): self.hide_all(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(map(self.hide_all, value))
        return value

    def reveal(self, value: Any) -> Any:
        """Put the texts back wherever placeholders stand, inside lists, tuples and dictionaries too."""
        if isinstance(value, Hidden):
            return value.hidden_text()
        if isinstance(value, str):
            return self._pattern.sub(lambda found: self._texts[int(found[1])], value) if OPEN in value else value
        if isinstance(value, dict):
            return {self.reveal(key): self.reveal(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.reveal(item) for item in value]
        return value

    def split(self, rendered: str) -> list[Piece]:
        """Cut what was rendered into the template's words and messages' words; raises `DamagedError`."""
        pieces = []
        at = 0
        for found in self._pattern.finditer(rendered):
            pieces.append(Piece(rendered[at : found.start()], trusted=True))
            pieces.append(Piece(self._texts[int(found[1])], trusted=False))
            at = found.end()
        pieces.append(Piece(rendered[at:], trusted=True))
        if any(piece.trusted and (OPEN in piece.text or CLOSE in piece.text) for piece in pieces):
            raise DamagedError
        return [piece for piece in pieces if piece.text]

    def trim(self, text: str, characters: str | None) -> str:
        """Strip a text with placeholders in it, and the hidden texts at its ends too."""
        text = text.strip(characters)
        if isinstance(text, Hidden) or OPEN not in text:
            return text
        pieces = self.split(text)
        for end, strip in ((0, str.lstrip), (-1, str.rstrip)):
            while pieces:
                pieces[end] = pieces[end]._replace(text=strip(pieces[end].text, characters))
                if pieces[end].text:
                    break
                del pieces[end]
        return "".join(piece.text if piece.trusted else self.hide(piece.text) for piece in pieces)

    def each(self, text: str, change: Callable[[str], str]) -> str:
        """Change the hidden texts in a text with placeholders, and what is between them, each by itself."""
        if isinstance(text, Hidden) or OPEN not in text:
            return change(text)
        return "".join(change(piece.text if piece.trusted else self.hide(piece.text)) for piece in self.split(text))

    def placeholder(self, text: str) -> str:
        """Make a new placeholder for `text`."""
        self._texts.append(text)
        return f"{self._prefix}{len(self._texts) - 1}{CLOSE}"


class Hidden(str):
    """A placeholder that answers as the text it stands for; put into other text, it is the placeholder."""

    __slots__ = ("_owner", "_text")
    _owner: Placeholders
    _text: str

    def __new__(cls, owner: Placeholders, text: str) -> "Hidden":
        """Hide `text`."""
        hidden = super().__new__(cls, owner.placeholder(text) if text else "")
        hidden._owner = owner
        hidden._text = text
        return hidden

    def hidden_text(self) -> str:
        """Give the text itself."""
        return self._text

    def __iter__(self) -> Iterator[str]:
        return map(self._owner.hide, self._text)

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return str(self._owner.hide(repr(self._text)))


def _as_the_text(name: str) -> Callable[..., Any]:
    method = getattr(str, name)

    def answer(self: Hidden, *args: Any, **kwargs: Any) -> Any:
        owner = self._owner
        result = method(self._text, *(owner.reveal(arg) for arg in args), **kwargs)
        return result if result is NotImplemented else owner.hide_all(result)

    answer.__name__ = name
    return answer


for _name in (
    *("__contains__", "__eq__", "__ge__", "__getitem__", "__gt__", "__le__", "__len__", "__lt__", "__ne__"),
    *("capitalize", "casefold", "center", "count", "endswith", "expandtabs", "find", "index", "isalnum", "isalpha"),
    *("isascii", "isdecimal", "isdigit", "isidentifier", "islower", "isnumeric", "isprintable", "isspace", "istitle"),
    *("isupper", "ljust", "lower", "lstrip", "partition", "removeprefix", "removesuffix", "replace", "rfind", "rindex"),
    *("rjust", "rpartition", "rsplit", "rstrip", "split", "splitlines", "startswith", "strip", "swapcase", "title"),
    *("upper", "zfill"),
):
    setattr(Hidden, _name, _as_the_text(_name))
