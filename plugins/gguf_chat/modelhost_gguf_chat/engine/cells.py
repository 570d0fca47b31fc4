"""Who holds which cells of the KV cache: a tree of token prefixes, in which sequences that share cells share a branch.

Nothing here calls llama.cpp: whoever changes its memory tells this tree, and asks it what is there.
"""

from array import array
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

TOKENS = "i"
"""How token ids are kept: llama.cpp's `llama_token` is an int32 (include/llama.h)."""


class Match(NamedTuple):
    """The longest beginning of a prompt that is in the cache."""

    length: int
    """Tokens."""
    holders: tuple[int, ...]
    """Sequences that begin with it, in no order; none where the length is 0."""


class _Run:
    """Tokens in a row whose cells the same sequences hold."""

    __slots__ = ("branches", "holders", "parent", "start", "tokens")

    def __init__(self, parent: "_Run | None", start: int, tokens: "array[int]") -> None:
        self.parent = parent
        self.start = start
        """Position of the first token."""
        self.tokens = tokens
        self.branches: list[_Run] = []
        self.holders: set[int] = set()
        """Sequences that hold all of it."""

    @property
    def end(self) -> int:
        return self.start + len(self.tokens)


class Cells:
    """The tree. Sequences are numbers, and each belongs to a salt: nobody finds what was computed under another."""

    def __init__(self, capacity: int) -> None:
        """Begin empty, with room for `capacity` tokens; `used` may exceed it, so that a caller can ask how much."""
        self.capacity = capacity
        self.used = 0
        """Cells that some sequence holds."""
        self._roots: dict[str, _Run] = {}
        self._salts: dict[int, str] = {}
        self._tips: dict[int, _Run] = {}
        """The last run that a sequence holds; the root for an empty one."""

    @property
    def free(self) -> int:
        """Cells that nobody holds."""
        return self.capacity - self.used

    def open(self, sequence: int, salt: str) -> None:
        """Begin an empty sequence."""
        root = self._roots.setdefault(salt, _Run(None, 0, array(TOKENS)))
        root.holders.add(sequence)
        self._salts[sequence] = salt
        self._tips[sequence] = root

    def share(self, source: int, sequence: int, length: int) -> None:
        """Begin a sequence with the first `length` tokens of another, in the same cells."""
        tip = self._run_ending_at(source, length)
        self._salts[sequence] = self._salts[source]
        self._tips[sequence] = tip
        for run in _upwards(tip):
            run.holders.add(sequence)

    def extend(self, sequence: int, tokens: Sequence[int]) -> None:
        """Add tokens that were computed for a sequence alone."""
        if not tokens:
            return
        tip = self._tips[sequence]
        if tip.parent is None or len(tip.holders) > 1 or tip.branches:
            tip = self._branch(tip, sequence)
        tip.tokens.extend(tokens)
        self.used += len(tokens)

    def cut(self, sequence: int, length: int) -> None:
        """Let go of all but the first `length` tokens."""
        if length >= self.length(sequence):
            return
        tip = self._run_ending_at(sequence, length)
        run = self._tips[sequence]
        self._tips[sequence] = tip
        self._let_go(sequence, run, tip)

    def release(self, sequence: int) -> None:
        """Let go of everything; the number is free again."""
        run = self._tips.pop(sequence)
        salt = self._salts.pop(sequence)
        self._let_go(sequence, run, None)
        if not self._roots[salt].holders:
            del self._roots[salt]

    def __contains__(self, sequence: int) -> bool:
        return sequence in self._tips

    def salt(self, sequence: int) -> str:
        """Return the salt of a sequence."""
        return self._salts[sequence]

    def length(self, sequence: int) -> int:
        """Return how many tokens a sequence holds."""
        return self._tips[sequence].end

    def alone(self, sequence: int) -> int:
        """Return how many cells would be free if a sequence let go of its own."""
        return sum(len(run.tokens) for run in _upwards(self._tips[sequence]) if len(run.holders) == 1)

    def tokens(self, sequence: int) -> "array[int]":
        """Return the tokens of a sequence."""
        runs = [*_upwards(self._tips[sequence])]
        joined = array(TOKENS)
        for run in reversed(runs):
            joined.extend(run.tokens)
        return joined

    def match(self, salt: str, tokens: "array[int]") -> Match:
        """Find the longest beginning of `tokens` that some sequence of this salt holds; parts of a run count."""
        root = self._roots.get(salt)
        best = Match(0, ())
        ways = [root] if root else []
        while ways:
            run = ways.pop()
            length = run.start + common(run.tokens, tokens, run.start)
            if length > best.length:
                best = Match(length, tuple(run.holders))
            if length == run.end < len(tokens):
                ways.extend(branch for branch in run.branches if branch.tokens[0] == tokens[length])
        return best

    def _run_ending_at(self, sequence: int, length: int) -> _Run:
        """Return the run that ends a sequence's first `length` tokens, after splitting the one that goes further."""
        run = self._tips[sequence]
        while run.parent is not None and run.start >= length:
            run = run.parent
        if run.end > length:
            self._split(run, length - run.start)
        return run

    def _split(self, run: _Run, at: int) -> None:
        """Make two runs of one, of which the second begins `at` tokens later."""
        rest = _Run(run, run.start + at, run.tokens[at:])
        rest.branches, run.branches = run.branches, [rest]
        rest.holders = set(run.holders)
        for branch in rest.branches:
            branch.parent = rest
        for sequence in rest.holders:
            if self._tips[sequence] is run:
                self._tips[sequence] = rest
        del run.tokens[at:]

    def _branch(self, run: _Run, sequence: int) -> _Run:
        branch = _Run(run, run.end, array(TOKENS))
        branch.holders.add(sequence)
        run.branches.append(branch)
        self._tips[sequence] = branch
        return branch

    def _let_go(self, sequence: int, run: _Run, until: _Run | None) -> None:
        for held in _upwards(run):
            if held is until:
                return
            held.holders.discard(sequence)
            if not held.holders and held.parent is not None:
                self.used -= len(held.tokens)
                held.parent.branches.remove(held)


def common(run: "array[int]", tokens: "array[int]", start: int) -> int:
    """Return how many tokens of a run those from `start` on begin with."""
    size = min(len(run), len(tokens) - start)
    if size <= 0:
        return 0
    other = np.frombuffer(tokens, np.int32, size, start * tokens.itemsize)
    differs = np.frombuffer(run, np.int32, size) != other
    first = int(differs.argmax())
    return first if differs[first] else size


def _upwards(run: _Run | None) -> Iterator[_Run]:
    while run is not None:
        yield run
        run = run.parent
