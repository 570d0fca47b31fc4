"""Text that knows which of its characters a chat template wrote itself, and which are somebody else's.

Only the template's own words may become control tokens. So its literal texts are marked as its own, and the mark follows
them through whatever the template does. Marking what is trusted, not what is hostile, decides what a mistake costs: an
operation that nothing here knows gives a bare `str`, which has the right characters and is nobody's own. llama.cpp's
templates mark what comes from outside; Python's `str` has too many ways to lose a mark for that.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import index
from typing import Any, NamedTuple, SupportsIndex

from markupsafe import Markup, escape

Spans = tuple[tuple[int, int], ...]
"""Where a text's own characters are: begin and end of each stretch, in order, apart from each other."""

MAX_PARTS = 10_000
"""Parts of a text that are followed one by one; of more, each is taken as the whole is: the template's own, or nobody's. Chosen,
because prompts of a thousand turns have a few thousand."""
_CONVERSION = re.compile(r"%(?:\((?P<key>[^)]*)\))?(?P<how>[^a-zA-Z%]*)(?P<kind>[a-zA-Z%])")


class Piece(NamedTuple):
    """A stretch of a prompt."""

    text: str
    trusted: bool
    """Whether control tokens spelled out in it are meant: true for the chat template's words, never for a message's."""


class Traced(str):
    """A string like any other, beside which stands what of it is the template's own."""

    __slots__ = ("own",)
    own: Spans

    def __new__(cls, text: str, own: Spans = ()) -> "Traced":
        """Make one of `text`, nobody's own but for `own`."""
        traced = super().__new__(cls, text)
        traced.own = own
        return traced

    def __str__(self) -> str:
        return self

    def __add__(self, other: Any) -> Any:
        return joined((self, other)) if _is_plain(other) else NotImplemented

    def __radd__(self, other: Any) -> Any:
        return joined((other, self)) if _is_plain(other) else NotImplemented

    def __mul__(self, times: SupportsIndex) -> "Traced":
        text = super().__mul__(times)
        if pure(self):
            return own(text)
        return joined([self] * index(times)) if self.own and len(text) <= MAX_PARTS else Traced(text)

    __rmul__ = __mul__

    def __mod__(self, values: Any) -> str:
        return _formatted(self, super().__mod__(values), values)

    def __getitem__(self, at: Any) -> "Traced":
        text = super().__getitem__(at)
        if not self.own:
            return Traced(text)
        if not isinstance(at, slice):
            at = range(len(self))[at]
            return Traced(text, ((0, 1),) if any(begin <= at < end for begin, end in self.own) else ())
        begin, end, step = at.indices(len(self))
        if step != 1:
            return Traced(text)
        kept = ((max(begin, first) - begin, min(end, last) - begin) for first, last in self.own)
        return Traced(text, tuple((first, last) for first, last in kept if first < last))

    def __iter__(self) -> Iterator[str]:
        for at, letter in enumerate(super().__iter__()):
            yield self[at] if self.own else letter

    def join(self, parts: Iterable[str]) -> str:
        """Join as `str` does."""
        parts = list(parts)
        if not all(map(_is_plain, parts)):
            return super().join(parts)
        between: list[str] = []
        for part in parts:
            between += (self, part) if between else (part,)
        return joined(between)

    def split(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        """Split as `str` does."""
        return self._located(super().split(sep, maxsplit), sep)

    def rsplit(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        """Split as `str` does."""
        return self._located(super().rsplit(sep, maxsplit), sep)

    def splitlines(self, keepends: bool = False) -> list[str]:
        """Split as `str` does."""
        whole = self._located(super().splitlines(True), "")
        return whole if keepends else [line[: len(str.splitlines(line)[0])] for line in whole]

    def partition(self, sep: str) -> tuple[str, str, str]:
        """Split as `str` does."""
        before, sep, after = self._located(super().partition(sep), "")
        return before, sep, after

    def rpartition(self, sep: str) -> tuple[str, str, str]:
        """Split as `str` does."""
        before, sep, after = self._located(super().rpartition(sep), "")
        return before, sep, after

    def strip(self, chars: str | None = None) -> "Traced":
        """Strip as `str` does."""
        return self.lstrip(chars).rstrip(chars)

    def lstrip(self, chars: str | None = None) -> "Traced":
        """Strip as `str` does."""
        return self[len(self) - len(super().lstrip(chars)) :]

    def rstrip(self, chars: str | None = None) -> "Traced":
        """Strip as `str` does."""
        return self[: len(super().rstrip(chars))]

    def removeprefix(self, prefix: str, /) -> "Traced":
        """Remove as `str` does."""
        return self[len(self) - len(super().removeprefix(prefix)) :]

    def removesuffix(self, suffix: str, /) -> "Traced":
        """Remove as `str` does."""
        return self[: len(super().removesuffix(suffix))]

    def replace(self, old: str, new: str, count: SupportsIndex = -1, /) -> "Traced":
        """Replace as `str` does."""
        if not old or not (self.own or spans(new)):
            return Traced(super().replace(old, new, count))
        parts = super().split(old, count)
        if len(parts) > MAX_PARTS:
            made = super().replace(old, new, count)
            return own(made) if pure(self) and pure(new) else Traced(made)
        first, *rest = self._located(parts, old)
        return joined([first, *(text for part in rest for text in (new, part))])

    def _located(self, parts: Sequence[str], between: str | None = None) -> list[str]:
        """Return parts of this text, one after the other with `between` in the middle (None: whitespace), with their marks."""
        if not self.own or len(parts) > MAX_PARTS:
            return [own(part) if pure(self) else Traced(part) for part in parts]
        found: list[str] = []
        at = 0
        for part in parts:
            at = self.find(part, at) if between is None else at
            found.append(self[at : at + len(part)])
            at += len(part) + len(between or "")
        return found


def _letter_by_letter(name: str) -> Callable[[Traced], Traced]:
    change: Callable[[str], str] = getattr(str, name)

    def changed(self: Traced) -> Traced:
        return like(change(self), self)

    changed.__name__ = name
    changed.__doc__ = "Change letters as `str` does."
    return changed


for _name in ("upper", "lower", "title", "capitalize", "swapcase", "casefold"):
    setattr(Traced, _name, _letter_by_letter(_name))


class Safe(Markup):
    """Markup, which escapes the texts it is joined with, and knows what of it is the template's own."""

    __slots__ = ("own",)
    own: Spans

    def __new__(cls, text: str = "", own: Spans = ()) -> "Safe":  # Markup makes its results with a text alone
        """Make one of `text`, nobody's own but for `own`."""
        safe = super().__new__(cls, text)
        safe.own = own
        return safe

    def __str__(self) -> str:
        return Traced(super().__str__(), self.own)

    def __add__(self, other: Any) -> Any:
        return _safe(joined((self, escaped(other)))) if isinstance(other, str) else super().__add__(other)

    def __radd__(self, other: Any) -> Any:
        return _safe(joined((escaped(other), self))) if isinstance(other, str) else super().__radd__(other)


def escaped(text: str) -> Safe:
    """Escape a text, stretch by stretch; Markup stays as it is."""
    if hasattr(text, "__html__"):
        return text if isinstance(text, Safe) else Safe(text)
    stretches = (own(escape(piece.text)) if piece.trusted else escape(piece.text) for piece in pieces(_traced(text)))
    return _safe(joined([Traced(text, spans(text)) for text in stretches]))


def _safe(text: Traced) -> Safe:
    return Safe(text, text.own)


def _traced(text: str) -> Traced:
    return text if isinstance(text, Traced) else Traced(text)


def own(text: str) -> Traced:
    """Mark a text as the template's own."""
    return Traced(text, ((0, len(text)),) if text else ())


def spans(text: str) -> Spans:
    """Return where a text's own characters are."""
    return text.own if isinstance(text, Traced | Safe) else ()


def pure(text: str) -> bool:
    """Return whether all of a text is the template's own."""
    return spans(text) == (((0, len(text)),) if text else ())


def like(changed: str, text: str) -> Traced:
    """Return a text whose letters were changed one by one the marks of what it was made of; those of no other change."""
    return Traced(changed, spans(text) if len(changed) == len(text) else ())


def joined(parts: Sequence[str]) -> Traced:
    """Join texts; what is own in them stays so."""
    merged: list[tuple[int, int]] = []
    at = 0
    for part in parts:
        for begin, end in spans(part):
            if merged and merged[-1][1] == at + begin:
                merged[-1] = (merged[-1][0], at + end)
            else:
                merged.append((at + begin, at + end))
        at += len(part)
    return Traced("".join(parts), tuple(merged))


def traced(value: Any) -> Any:
    """Make every string inside lists and dictionaries one that is nobody's own; their keys stay bare."""
    if isinstance(value, str):
        return value if isinstance(value, Traced) else Traced(value)
    if isinstance(value, dict):
        return {key: traced(item) for key, item in value.items()}
    if isinstance(value, list):
        return [traced(item) for item in value]
    return value


def pieces(text: Traced) -> list[Piece]:
    """Cut a text where somebody else's characters begin or end."""
    cut: list[Piece] = []
    at = 0
    for begin, end in text.own:
        cut += (Piece(str.__getitem__(text, slice(at, begin)), False), Piece(str.__getitem__(text, slice(begin, end)), True))
        at = end
    cut.append(Piece(str.__getitem__(text, slice(at, None)), False))
    return [piece for piece in cut if piece.text]


def _is_plain(value: Any) -> bool:
    """Return whether it is text that joins as it is; what has `__html__` (Markup) escapes what it is joined with."""
    return isinstance(value, str) and not hasattr(value, "__html__")


def _formatted(form: Traced, made: str, values: Any) -> Traced:
    """Return what `form % values` made its marks, where it is plain to see which characters come from where."""
    given = iter(values if isinstance(values, tuple) else (values,))
    parts: list[str] = []
    at = 0
    try:
        for found in _CONVERSION.finditer(form):
            parts.append(form[at : found.start()])
            at = found.end()
            if found["kind"] == "%":
                parts.append(form[at - 1 : at])
                continue
            value = next(given) if found["key"] is None else values[found["key"]]
            simple = found["kind"] == "s" and not found["how"] and _is_plain(value)
            parts.append(value if simple else f"%{found['how']}{found['kind']}" % (value,))
    except (StopIteration, LookupError, TypeError, ValueError):  # written in a way that is not looked through here
        return Traced(made)
    whole = joined([*parts, form[at:]])
    return whole if whole == made else Traced(made)
