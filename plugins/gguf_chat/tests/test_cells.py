"""The tree of token prefixes, beside a model that is too simple to be wrong."""

from array import array
from itertools import count, takewhile

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from modelhost_gguf_chat.engine.cells import Cells

SALTS = ("", "anna")
TOKENS = st.lists(st.integers(0, 2), max_size=6)


def alike(one, other):
    return len([*takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))])


class CellsBesideSimpleOnes(RuleBasedStateMachine):
    """Each sequence is a list of (token, cell); a cell that is in several lists is one that they share."""

    def __init__(self):
        super().__init__()
        self.cells = Cells(10**6)
        self.salts = {}
        self.lists = {}
        self.fresh = count()

    sequences = Bundle("sequences")

    @rule(target=sequences, salt=st.sampled_from(SALTS))
    def open(self, salt):
        number = next(self.fresh)
        self.cells.open(number, salt)
        self.salts[number], self.lists[number] = salt, []
        return number

    @rule(target=sequences, source=sequences, part=st.floats(0, 1))
    def share(self, source, part):
        number = next(self.fresh)
        length = round(part * len(self.lists[source]))
        self.cells.share(source, number, length)
        self.salts[number], self.lists[number] = self.salts[source], self.lists[source][:length]
        return number

    @rule(sequence=sequences, tokens=TOKENS)
    def extend(self, sequence, tokens):
        self.cells.extend(sequence, array("i", tokens))
        self.lists[sequence] = self.lists[sequence] + [(token, next(self.fresh)) for token in tokens]

    @rule(sequence=sequences, part=st.floats(0, 1.2))
    def cut(self, sequence, part):
        length = round(part * len(self.lists[sequence]))
        self.cells.cut(sequence, length)
        self.lists[sequence] = self.lists[sequence][:length]

    @rule(sequence=consumes(sequences))
    def release(self, sequence):
        self.cells.release(sequence)
        del self.lists[sequence], self.salts[sequence]

    @rule(salt=st.sampled_from(SALTS), tokens=st.lists(st.integers(0, 2), max_size=12))
    def match(self, salt, tokens):
        found = self.cells.match(salt, array("i", tokens))
        lengths = {
            number: alike([token for token, _ in kept], tokens)
            for number, kept in self.lists.items()
            if self.salts[number] == salt
        }
        assert found.length == max(lengths.values(), default=0)
        assert all(lengths[holder] == found.length for holder in found.holders)
        assert bool(found.holders) == bool(found.length)

    @invariant()
    def no_cell_is_lost_and_none_is_counted_twice(self):
        held = {cell for kept in self.lists.values() for _, cell in kept}
        assert self.cells.used == len(held)
        for number, kept in self.lists.items():
            assert [*self.cells.tokens(number)] == [token for token, _ in kept]
            assert self.cells.length(number) == len(kept)
            assert self.cells.salt(number) == self.salts[number]
            others = {cell for other, theirs in self.lists.items() if other != number for _, cell in theirs}
            assert self.cells.alone(number) == len({cell for _, cell in kept} - others)


TestCells = CellsBesideSimpleOnes.TestCase
