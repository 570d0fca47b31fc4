"""Guesses at how an answer goes on, from what was said before: checked by the model in one step, they cost less than one by one.

An answer that repeats its prompt (code that is changed in places, a text that is corrected) is guessed well. Drafts are long or
there are none: on a CPU two or three positions in a step take longer than they save (costs.py).
"""

from array import array

from modelhost_gguf_chat.engine.costs import Costs

GRAM = 6
"""Tokens that must have been said before, in this order, for what followed to be a guess. Chosen, because free text hardly ever
repeats six, and a copy does so after six."""
LENGTHS = (31, 15, 8)
"""Of drafts. Chosen: with the token before them they make 32, 16 and 9, and gains grow up to 32 (benchmarks/gguf_streams.py)."""
GAIN = 1.05
"""Times as many tokens a second that are expected of a draft, or there is none."""
HOPE = 0.7
"""Part of a draft that is expected to be right before one was checked."""
MEMORY = 0.5
"""Weight of the last draft in that expectation from then on. Chosen, because a copy ends at once, and so should its drafts."""
PAUSE = 128
"""Tokens without drafts after one that did not pay, doubled each time. Chosen: a wrong draft costs some four tokens, a
thirtieth."""


class Drafts:
    """Guesses for one answer."""

    def __init__(self) -> None:
        self._places: dict[bytes, int] = {}
        """Where what followed each gram begins, the last time it was said."""
        self._indexed = GRAM
        self._right = HOPE
        self._resume = 0
        self._pause = PAUSE

    def propose(self, tokens: "array[int]", costs: Costs, most: int) -> "array[int]":
        """Return what may follow `tokens`, `most` at most and none where it would not pay."""
        if len(tokens) < max(self._resume, GRAM + 1) or not (length := self._length(costs, most)):
            return tokens[:0]
        self._index(tokens)
        place = self._places.get(tokens[-GRAM:].tobytes())
        if place is None:
            return tokens[:0]
        draft = tokens[place : place + length]
        while len(draft) < length:  # it was said just now, and may go on like that
            draft.extend(draft[: length - len(draft)])
        return draft

    def note(self, drafted: int, right: int, tokens: int, costs: Costs) -> None:
        """Take how much of a draft was right, when there were so many `tokens`."""
        self._right += MEMORY * (right / drafted - self._right)
        if _gain(costs, drafted, right) < 1:
            self._resume = tokens + self._pause
            self._pause *= 2
            self._right = HOPE
        else:
            self._pause = PAUSE

    def _length(self, costs: Costs, most: int) -> int:
        best, length = GAIN, 0
        for size in LENGTHS:
            if size <= most and (gain := _gain(costs, size, self._right * size)) > best:
                best, length = gain, size
        return length

    def _index(self, tokens: "array[int]") -> None:
        """Note all grams but the last one, of which nobody knows what follows."""
        for end in range(self._indexed, len(tokens)):
            self._places[tokens[end - GRAM : end].tobytes()] = end
        self._indexed = len(tokens)


def _gain(costs: Costs, drafted: int, right: float) -> float:
    """Return how many times as fast a draft is as one token after the other; 0 where nothing was measured."""
    single, step = costs.of(1), costs.of(1 + drafted)
    return (1 + right) * single / step if single and step else 0.0
