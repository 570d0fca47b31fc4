"""Stop strings in a stream of text: what could still become one is held back."""


class StopStrings:
    """Ends a text at the first stop string that is complete; of two that complete at once, at the longer one.

    However the text is cut into pieces, what comes out is the same. Takes time by the length of the text, whatever the strings.
    """

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = [_Stop(stop) for stop in stops if stop]
        self._held = ""
        self.stopped = False
        """Whether a stop string has been met; the text is over then."""

    def feed(self, text: str) -> str:
        """Add to the text; gives what of it is certain not to be part of a stop string."""
        if not self._stops:
            return text
        if self.stopped:
            return ""
        text = self._held + text
        for at in range(len(self._held), len(text)):
            complete = [len(stop.text) for stop in self._stops if stop.takes(text[at])]
            if complete:
                self.stopped = True
                self._held = ""
                return text[: at + 1 - max(complete)]
        keep = max(stop.matched for stop in self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """Give what was held back, when no more text comes."""
        held, self._held = self._held, ""
        return held


class _Stop:
    """One string, and how much of its beginning the text ends with: the search of Knuth, Morris and Pratt."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.matched = 0
        self._shorter = [0]
        """For each beginning, the longest shorter one that it ends with."""
        for letter in text[1:]:
            self._shorter.append(self._next(letter, self._shorter[-1]))

    def takes(self, letter: str) -> bool:
        """Go on by a letter; gives whether the string is complete."""
        self.matched = self._next(letter, self.matched)
        return self.matched == len(self.text)

    def _next(self, letter: str, matched: int) -> int:
        while matched and self.text[matched] != letter:
            matched = self._shorter[matched - 1]
        return matched + (self.text[matched] == letter)
