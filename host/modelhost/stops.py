"""Stop strings in a stream of text: what could still become one is held back."""


class StopStrings:
    """Ends a text at the first stop string that is complete; of two that complete at once, at the longer one.

    However the text is cut into pieces, what comes out is the same.
    """

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
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
        complete = [(found + len(stop), found) for stop in self._stops if (found := text.find(stop)) >= 0]
        if complete:
            self.stopped = True
            self._held = ""
            return text[: min(complete)[1]]
        keep = max(_overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """Give what was held back, when no more text comes."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest beginning of `stop`, short of all of it, that `text` ends with."""
    for length in range(min(len(stop) - 1, len(text)), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
