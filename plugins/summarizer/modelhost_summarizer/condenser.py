"""Logs made short: lines that differ only in numbers, names and times are told once, with how often and from when to when.

Whole blocks of lines are masked at once, which reads 12 MB a second where drain3, a well-known library for this, read 0.6
(dpkg's log, two shared cores). Nothing is learned, so the same log always gives the same text.
"""

from collections import Counter
from collections.abc import Iterator

from modelhost_summarizer.log_lines import GRAVE, PLACEHOLDER, TELLING, TIME, is_frame, kinds_of, without_colours

MOST_KINDS = 5_000
"""Kinds of lines kept at once; beyond that, alike ones are merged and the least telling are dropped. Chosen, because they take a
few MB (benchmarks/condense_log.py)."""

LONGEST_LINE = 64 * 1024
"""Characters after which a line is taken to end. Chosen, because a file without lines must not fill the memory."""

SHOWN = 500
"""Characters of a line that are shown. Chosen, because what matters of a line of a log stands at its beginning."""

_KEPT = SHOWN + 1
"""Characters of a line that are kept: one more than is shown, so that a line that was cut is known."""

ALIKE = 4
"""Kinds that differ in the same one word, from which on they are one kind. Chosen, because two or three may be different
events."""

_WORDS = 24
"""Words of a line in which kinds may differ to be merged. Chosen, because merging takes time by their number, and names stand
early in a line."""


class _Kind:
    """What is kept of the lines of one kind."""

    __slots__ = ("count", "first", "last", "order")

    def __init__(self, line: str, order: int) -> None:
        self.count = 1
        self.first = self.last = line
        self.order = order

    def join(self, other: "_Kind") -> None:
        self.count += other.count
        if other.order < self.order:
            self.first, self.order = other.first, other.order
        # Of two last lines the later one is not known; the one with the later time is.
        self.last = max(self.last, other.last, key=_time_of)


class Condenser:
    """Takes a log piece by piece, in memory that does not grow with it."""

    def __init__(self, most_lines: int) -> None:
        self._most_lines = most_lines
        self._kinds: dict[str, _Kind] = {}
        self._rest = ""
        self._lines = 0
        self._left_out = 0
        self._merging = True

    def take(self, piece: str) -> None:
        """Read on; a piece may end in the middle of a line."""
        text = self._rest + piece
        end = text.rfind("\n") + 1
        if len(text) - end > LONGEST_LINE:
            end = len(text)
        self._rest = text[end:]
        self._fold(text[:end])

    def text(self) -> str:
        """Return the condensed log: its kinds of lines in the order in which they first appeared."""
        self._fold(self._rest)
        self._rest = ""
        self._merge()
        kinds = len(self._kinds)
        self._let_go(self._most_lines)
        lines = [_summary_line(kind, of) for kind, of in sorted(self._kinds.items(), key=lambda item: item[1].order)]
        heading = f"[{self._lines} lines of {kinds} kinds; ×N stands for N lines that differ only at {PLACEHOLDER}]"
        left_out = [f"[{self._left_out} lines of rarer kinds are left out]"] if self._left_out else []
        return "\n".join([heading, *lines, *left_out])

    def _fold(self, block: str) -> None:
        block = without_colours(block)
        kinds = self._kinds
        lines = block.split("\n")
        for line, whole in zip(lines, kinds_of(block, lines), strict=True):
            if not line or line.isspace():
                continue
            kind = whole[:_KEPT]
            known = kinds.get(kind)
            self._lines += 1
            if known is None:
                kinds[kind] = _Kind(line[:_KEPT], self._lines)
                if len(kinds) > MOST_KINDS:
                    self._make_room()
                    kinds = self._kinds
            else:
                known.count += 1
                known.last = line[:_KEPT]

    def _make_room(self) -> None:
        if self._merging:
            self._merge()
            # Merging costs more than all the rest; a log that has nothing alike is spared the next tries.
            self._merging = len(self._kinds) < MOST_KINDS * 0.9
        self._let_go(MOST_KINDS // 2)

    def _merge(self) -> None:
        """Make one kind of those that differ in one word only, if there are `ALIKE` of them or one was made before."""
        alike = Counter(shape for kind in self._kinds for shape in _shapes(kind))
        for kind in self._kinds.keys() & alike.keys():
            alike[kind] += ALIKE
        merged: dict[str, _Kind] = {}
        for kind, of in self._kinds.items():
            shape = max(_shapes(kind), key=lambda shape: alike[shape], default="")
            name = shape if shape and alike[shape] >= ALIKE else kind
            if name in merged:
                merged[name].join(of)
            else:
                merged[name] = of
        self._kinds = merged

    def _let_go(self, most: int) -> None:
        """Keep the most telling kinds: grave ones, then frequent ones, then early ones."""
        if len(self._kinds) <= most:
            return

        def weight(item: tuple[str, _Kind]) -> tuple[bool, int, int]:
            return GRAVE.search(item[0]) is None, -item[1].count, item[1].order

        ranked = sorted(self._kinds.items(), key=weight)
        self._left_out += sum(of.count for _, of in ranked[most:])
        self._kinds = dict(ranked[:most])


def _shapes(kind: str) -> Iterator[str]:
    """Yield the kind with each of its words masked in turn, but for words that no two lines should be merged over."""
    if is_frame(kind):
        return
    words = kind.split(" ")
    if len(words) < 3:
        return
    for at, word in enumerate(words[:_WORDS]):
        if word and word != PLACEHOLDER and not TELLING.search(word):
            yield " ".join((*words[:at], PLACEHOLDER, *words[at + 1 :]))


def _summary_line(kind: str, of: _Kind) -> str:
    if of.count == 1:
        return _cut(of.first)
    first, last = _time_of(of.first), _time_of(of.last)
    when = f" {first} … {last}" if first != last else f" {first}" if first else ""
    return f"×{of.count}{when}: {_cut(kind)}"


def _time_of(line: str) -> str:
    found = TIME.search(line, 0, 200)
    return found[0] if found else ""


def _cut(line: str) -> str:
    return line if len(line) <= SHOWN else f"{line[:SHOWN]}…"
