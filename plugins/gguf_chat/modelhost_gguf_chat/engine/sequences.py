"""The context's sequences: which job has which, what is left in those that nobody has, and what a prompt finds there.

The tree in `cells` decides, `decode` has llama.cpp do the same; the two never part, because nobody else changes either.
"""

from array import array
from collections.abc import Callable, Iterator, Sequence

from modelhost_gguf_chat.engine.cells import Cells, common
from modelhost_gguf_chat.engine.decode import Decoder, Shape
from modelhost_gguf_chat.engine.jobs import Job
from modelhost_gguf_chat.engine.prefixes import Prefix, Prefixes

WORTH = 32
"""Tokens more than are in the context from which on a file is read. Chosen, because computing them takes longer."""
SHARED = 8
"""Tokens in common from which on a beginning is copied from another sequence, or waited for while that is computed. Chosen:
copying takes as long as computing one, and prompts are computed one after the other anyway."""
COPY = 64
"""One token in so many of a sequence has to be of use, or else copying its state takes longer than computing them: 5 milliseconds
a thousand tokens against some 3 each (SmolLM2 on two cores)."""
TAIL = 8
"""A conversation goes on in its own sequence if it gives up one token in so many of those it needs. Chosen: the last answer is
rendered anew in the next turn, and differs by a token or two."""
LEAST = 128
"""Tokens of a beginning that is kept when its sequence is needed for another. Chosen, because shorter ones are computed in a
moment."""
HEADROOM = 32
"""Cells for each running answer that must be free before another one begins. Chosen, because it is some seconds of writing, and a
job that has to be put off is computed twice."""


class Sequences:
    """Sequences of a context. Each belongs to a running job, or keeps what one has left, or is empty."""

    def __init__(self, decoder: Decoder, shape: Shape, parallel: int, prefixes: Prefixes) -> None:
        """Take an empty context, in which `parallel` jobs may run; what has to leave it goes to `prefixes`."""
        self._decoder = decoder
        self._prefixes = prefixes
        self._unified = shape.unified
        self._parallel = parallel
        self._cells = Cells(shape.cells)
        self._empty = list(reversed(range(shape.sequences)))
        self._left: dict[int, None] = {}
        """Those that keep what a job has left, least recently used first."""
        self._running = 0
        self.reused = self.evicted = 0
        """Tokens that prompts found, and sequences that made room, since the context was made."""

    @property
    def cut_anywhere(self) -> bool:
        """Whether a sequence can be gone on from at any of its tokens; else only from its end."""
        return self._decoder.cuts

    @property
    def used(self) -> int:
        """Cells that are taken."""
        return self._cells.used

    @property
    def capacity(self) -> int:
        """Cells there are."""
        return self._cells.capacity

    def place(self, job: Job) -> bool:
        """Give a job a sequence, with as much of its tokens as is there already; false where there is no room."""
        if self._running == self._parallel or not (self._empty or self._left):
            return False
        length, source, stored = (0, -1, None) if job.scores_prompt else self._source(job)
        if self._unified and not self._room_for(len(job.tokens) - length, keep=source):
            return False
        if source in self._left and (self._is_tail(source, length) or not self._can_be_copied(source, length)):
            sequence = source
            length = self._take_over(sequence, length)
        else:
            sequence = self._take_empty(keep=source)
            length = self._fetch(stored, sequence, length) if stored else self._copy(source, sequence, length, job.caller)
        job.sequence, job.computed = sequence, length
        self._running += 1
        self.reused += length
        return True

    def worth_waiting(self, job: Job, other: Job) -> bool:
        """Whether another job's prompt, of which the rest is about to be computed, has much more in common than is there."""
        shared = min(common(other.tokens, job.tokens, 0), len(job.tokens) - 1, other.prompt)
        return shared >= other.computed + SHARED and shared >= self._cells.match(job.caller, job.tokens).length + SHARED

    def kept(self, known: Callable[[str, "array[int]"], bool]) -> Iterator[Prefix]:
        """Yield what jobs have left and what left the context before, most recently used first, without what is known."""
        for sequence in reversed([*self._left]):
            if not known(self._cells.salt(sequence), self._cells.tokens(sequence)) and (prefix := self._prefix(sequence)):
                yield prefix
        for prefix in self._prefixes:
            if not known(prefix.salt, prefix.tokens):
                yield prefix

    def extend(self, job: Job, tokens: Sequence[int]) -> None:
        """Take that a job's tokens were computed."""
        assert job.sequence is not None
        self._cells.extend(job.sequence, tokens)

    def retire(self, job: Job) -> None:
        """Keep what a job has left, for whoever begins alike."""
        assert job.sequence is not None
        self._left[job.sequence] = None
        self._running -= 1
        job.sequence = None

    def clear(self, job: Job) -> None:
        """Forget a job's sequence; it may be placed again."""
        assert job.sequence is not None
        self._release(job.sequence)
        self._running -= 1
        job.sequence, job.computed = None, 0

    def keep(self, job: Job) -> None:
        """Keep what a job's prompt came to, all but its last token, where a sequence cannot be cut back to it later."""
        assert job.sequence is not None
        if not self._decoder.cuts and self._prefixes.wanted and (prefix := self._prefix(job.sequence)):
            self._prefixes.keep(prefix)

    def rewind(self, job: Job) -> None:
        """Bring llama.cpp's memory of a job back to what is known to be computed; where it cannot be, to nothing."""
        assert job.sequence is not None
        job.computed = self._cut(job.sequence, job.computed)

    def lack(self, count: int) -> bool:
        """Whether there are fewer cells than that, after all that was left for others was given up for it."""
        while self._unified and self._cells.free < count:
            if not self.evict():
                return True
        return False

    def evict(self) -> bool:
        """Give up what was used least recently of what jobs have left; false where nothing is."""
        sequence = next(iter(self._left), None)
        if sequence is None:
            return False
        self._give_up(sequence)
        return True

    def _source(self, job: Job) -> tuple[int, int, Prefix | None]:
        """Return how many of a job's tokens are there, and in which sequence or prefix; the last is computed anew."""
        most = len(job.tokens) - 1
        length, holder = self._holder(job, most)
        whole = not self._decoder.cuts_states
        stored = self._prefixes.find(job.caller, job.tokens, whole=whole, more_than=length + WORTH)
        if stored is None:
            return length, holder, None
        return min(common(stored.tokens, job.tokens, 0), most), -1, stored

    def _holder(self, job: Job, most: int) -> tuple[int, int]:
        match = self._cells.match(job.caller, job.tokens)
        length = min(match.length, most)
        for holder in sorted(match.holders, key=lambda holder: (holder not in self._left, self._cells.length(holder))):
            if not self._decoder.cuts and self._cells.length(holder) > length:
                continue
            can_be_taken_over = holder in self._left and (self._is_tail(holder, length) or length >= SHARED)
            if can_be_taken_over or self._can_be_copied(holder, length):
                return length, holder
        return 0, -1

    def _is_tail(self, sequence: int, length: int) -> bool:
        """Whether what comes after so many tokens of a sequence is little beside them."""
        return (self._cells.length(sequence) - length) * TAIL <= length

    def _can_be_copied(self, sequence: int, length: int) -> bool:
        """Whether the beginning of a sequence can be had without it, in less time than it takes to compute."""
        whole = self._cells.length(sequence)
        by_state = length * COPY >= whole and (self._decoder.cuts_states or length == whole)
        return length >= SHARED and (self._unified or by_state)

    def _take_over(self, sequence: int, length: int) -> int:
        """Take what a job has left, and cut it; what is cut off may be found among the prefixes. Returns how much is left."""
        del self._left[sequence]
        if self._cells.length(sequence) - length >= LEAST and self._prefixes.wanted and (prefix := self._prefix(sequence)):
            self._prefixes.keep(prefix)
        return self._cut(sequence, length)

    def _room_for(self, count: int, *, keep: int) -> bool:
        """See that a job of so many tokens can begin; it can always where no other runs."""
        needed = count + HEADROOM * (self._running + 1)
        while self._cells.free < needed:
            sequence = next((left for left in self._left if left != keep), None)
            if sequence is None:
                return not self._running
            self._give_up(sequence)
        return True

    def _take_empty(self, *, keep: int) -> int:
        if not self._empty:
            sequence = next((left for left in self._left if left != keep), keep)
            if sequence == keep:
                return keep
            self._give_up(sequence)
        return self._empty.pop()

    def _give_up(self, sequence: int) -> None:
        """Make room of what a job has left; it may be found among the prefixes."""
        del self._left[sequence]
        if self._prefixes.wanted and (prefix := self._prefix(sequence)):
            self._prefixes.keep(prefix)
        self._release(sequence)
        self.evicted += 1

    def _prefix(self, sequence: int) -> Prefix | None:
        if self._cells.length(sequence) < LEAST:
            return None
        state = self._decoder.state(sequence)
        return Prefix(self._cells.salt(sequence), self._cells.tokens(sequence), state) if state else None

    def _fetch(self, prefix: Prefix, sequence: int, length: int) -> int:
        """Give a sequence what was kept; returns how much it has of it."""
        self._cells.open(sequence, prefix.salt)
        if not self._decoder.restore(sequence, prefix.state):
            return 0
        self._cells.extend(sequence, prefix.tokens[:length])
        return length if self._decoder.cut(sequence, length) else self._emptied(sequence, prefix.salt)

    def _copy(self, source: int, sequence: int, length: int, salt: str) -> int:
        """Give a sequence the beginning of another one; returns how much it has of it."""
        if source == sequence:
            return self._take_over(sequence, length)
        if length and self._unified:
            self._decoder.copy(source, sequence)
            self._cells.share(source, sequence, length)
        else:
            self._cells.open(sequence, salt)
            state = self._decoder.state(source) if length else None
            if state is None or not self._decoder.restore(sequence, state):
                return 0
            self._cells.extend(sequence, self._cells.tokens(source)[:length])
        return length if self._decoder.cut(sequence, length) else self._emptied(sequence, salt)

    def _cut(self, sequence: int, length: int) -> int:
        """Leave the first tokens of a sequence, or none where it cannot be cut; returns how many are left."""
        salt = self._cells.salt(sequence)
        whole = self._cells.length(sequence)
        if length == whole and self._decoder.cut(sequence, length):
            return length
        if length and self._decoder.cuts and self._decoder.cut(sequence, length):
            self._cells.cut(sequence, length)
            return length
        self._decoder.forget(sequence)
        return self._emptied(sequence, salt)

    def _emptied(self, sequence: int, salt: str) -> int:
        self._cells.release(sequence)
        self._cells.open(sequence, salt)
        return 0

    def _release(self, sequence: int) -> None:
        self._decoder.forget(sequence)
        self._cells.release(sequence)
        self._empty.append(sequence)
