"""Lays two texts side by side, word by word."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher

from rich.table import Table
from rich.text import Text

ROW_WORDS = 20
"""Words after which a new row begins. Chosen, because the two sides then stay level."""


@dataclass(frozen=True)
class Stretch:
    """Words of both texts that belong together: the same, or those that stand in each other's place."""

    left: tuple[str, ...]
    right: tuple[str, ...]
    same: bool

    @property
    def length(self) -> int:
        """Return how many words this is, counted on the longer side."""
        return max(len(self.left), len(self.right))


@dataclass(frozen=True)
class Comparison:
    """Two texts, stretch by stretch."""

    stretches: tuple[Stretch, ...]

    @property
    def length(self) -> int:
        """Return how many words there are; a word that only one text has counts as much as one that both have."""
        return sum(stretch.length for stretch in self.stretches)

    @property
    def different(self) -> int:
        """Return how many of the words differ."""
        return sum(stretch.length for stretch in self.stretches if not stretch.same)

    @property
    def rate(self) -> float:
        """Return the word difference rate, 0 to 1: the same whichever text comes first, as neither is taken to be right."""
        return self.different / self.length if self.length else 0.0


def compare(left: str, right: str) -> Comparison:
    """Compare two texts by what spaces separate; case and punctuation make no difference."""
    lefts, rights = _words(left), _words(right)
    matcher = SequenceMatcher(None, [*map(_key, lefts)], [*map(_key, rights)], autojunk=False)
    return Comparison(
        tuple(
            Stretch(tuple(lefts[i:j]), tuple(rights[k:m]), same=operation == "equal")
            for operation, i, j, k, m in matcher.get_opcodes()
        )
    )


def _words(text: str) -> list[str]:
    return [word for word in text.split() if _key(word)]


def _key(word: str) -> str:
    return re.sub(r"[\W_]", "", word).casefold()


def side_by_side(comparison: Comparison, names: tuple[str, str]) -> Table:
    """Return a table of both texts; words that differ stand in brackets, and bold in a terminal."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0), expand=True)
    for name in names:
        table.add_column(Text(name), ratio=1, overflow="fold")
    for row in _rows(comparison.stretches):
        table.add_row(
            _marked((stretch.left, stretch.same) for stretch in row), _marked((stretch.right, stretch.same) for stretch in row)
        )
    return table


def _rows(stretches: tuple[Stretch, ...]) -> Iterator[list[Stretch]]:
    row: list[Stretch] = []
    for stretch in stretches:
        for piece in _pieces(stretch):
            row.append(piece)
            if sum(one.length for one in row) >= ROW_WORDS:
                yield row
                row = []
    if row:
        yield row


def _pieces(stretch: Stretch) -> Iterator[Stretch]:
    for at in range(0, stretch.length, ROW_WORDS):
        part = slice(at, at + ROW_WORDS)
        yield Stretch(stretch.left[part], stretch.right[part], stretch.same)


def _marked(parts: Iterator[tuple[tuple[str, ...], bool]]) -> Text:
    shown = [Text(" ".join(words)) if same else Text(f"[{' '.join(words)}]", "bold") for words, same in parts if words]
    return Text(" ").join(shown)
