"""Stop strings in a stream of text: what could still become one is held back."""

from array import array

_LETTERS = 0x110000
"""How many letters there are (Unicode ends at U+10FFFF): a transition is keyed by a state and a letter in one number."""


class StopStrings:
    """Ends a text at the first stop string that is complete; of two that complete at once, at the longer one.

    However the text is cut into pieces, what comes out is the same. Takes time by the length of the text, whatever the strings
    and however many.
    """

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._search = _Search(stops) if any(stops) else None
        self._held = ""
        self.stopped = False
        """Whether a stop string has been met; the text is over then."""
        self.met: str | None = None
        """Which one that was."""

    def feed(self, text: str) -> str:
        """Add to the text; returns what of it is certain not to be part of a stop string."""
        if self._search is None:
            return text
        if self.stopped:
            return ""
        text = self._held + text
        for at in range(len(self._held), len(text)):
            if complete := self._search.takes(text[at]):
                self.stopped = True
                self._held = ""
                self.met = text[at + 1 - complete : at + 1]
                return text[: at + 1 - complete]
        certain = len(text) - self._search.begun
        self._held = text[certain:]
        return text[:certain]

    def flush(self) -> str:
        """Return what was held back, when no more text comes."""
        held, self._held = self._held, ""
        return held


class _Search:
    """All strings at once, and how much of the beginning of one the text ends with: the search of Aho and Corasick."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._transitions: dict[int, int] = {}
        """State and letter → the next state. A state stands for the beginning of a string, 0 for nothing."""
        self._length = array("i", [0])
        self._shorter = array("i", [0])
        """For each state, that of the longest shorter beginning that it ends with."""
        self._complete = array("i", [0])
        """For each state, the length of the longest string that it ends with."""
        self._state = 0
        before: list[tuple[int, int]] = [(0, 0)]
        for stop in stops:
            self._add(stop, before)
        self._link(before)

    @property
    def begun(self) -> int:
        """Return how many letters at the text's end could become a string."""
        return self._length[self._state]

    def takes(self, letter: str) -> int:
        """Add a letter; returns the length of the string that is complete, or 0."""
        self._state = self._next(self._state, ord(letter))
        return self._complete[self._state]

    def _next(self, at: int, letter: int) -> int:
        while (found := self._transitions.get(at * _LETTERS + letter)) is None:
            if not at:
                return 0
            at = self._shorter[at]
        return found

    def _add(self, stop: str, before: list[tuple[int, int]]) -> None:
        at = 0
        for letter in map(ord, stop):
            step = at * _LETTERS + letter
            if step not in self._transitions:
                self._transitions[step] = len(before)
                before.append((at, letter))
                for facts in (self._shorter, self._complete):
                    facts.append(0)
                self._length.append(self._length[at] + 1)
            at = self._transitions[step]
        self._complete[at] = len(stop)

    def _link(self, before: list[tuple[int, int]]) -> None:
        """Fill in the shorter beginnings, those of short states first: each follows from that of the state before it."""
        for state in sorted(range(1, len(before)), key=self._length.__getitem__):
            last, letter = before[state]
            if last:
                self._shorter[state] = self._next(self._shorter[last], letter)
            self._complete[state] = self._complete[state] or self._complete[self._shorter[state]]
