"""What a backend must keep that turns texts into vectors."""

import asyncio
import math
import struct
from typing import Any, ClassVar

import msgspec
import pytest

from modelhost.contract.errors import RequestError
from modelhost.contract.types import Ability, EmbedRequest, Vectors
from modelhost.testing.backends import BackendTests
from modelhost.testing.loaded import Loaded

Row = tuple[float, ...]

NEAR = 1e-3
"""What rounding may change in a vector of length 1. Chosen, because bfloat16 has 8 bits, and batches add up in other orders."""


def rows_of(events: list[Any]) -> list[Row]:
    """Return the vectors of an answer, and claim that they are in order and whole."""
    rows: list[Row] = []
    for event in events:
        if isinstance(event, Vectors):
            assert event.first == len(rows), (
                f"vectors from number {event.first} on come where {len(rows)} is due; yield them in the order of the inputs"
            )
            size = 4 * event.dimensions
            assert size, "Vectors.dimensions is 0"
            assert event.data, "Vectors.data is empty; leave the event out"
            assert len(event.data) % size == 0, (
                f"Vectors.data has {len(event.data)} bytes, which are no rows of {event.dimensions} float32 (4 bytes each)"
            )
            rows += struct.iter_unpack(f"<{event.dimensions}f", event.data)
    return rows


def claim_units(rows: list[Row]) -> None:
    """Assert that vectors have length 1."""
    for number, row in enumerate(rows):
        assert all(math.isfinite(value) for value in row), (
            f"the vector of input {number} has NaN or infinity in it; where there is nothing to measure, raise BadInputError"
        )
        assert math.isclose(math.hypot(*row), 1.0, rel_tol=NEAR), (
            f"the vector of input {number} has length {math.hypot(*row):.4f}; divide it by that, so that it is 1"
        )


def alike(one: Row, other: Row) -> float:
    """Return the cosine of two vectors of length 1."""
    return sum(a * b for a, b in zip(one, other, strict=True))


class EmbedsTexts(BackendTests):
    """Tests of `embed`."""

    ability: ClassVar[Ability] = "embed"
    request: ClassVar[Any] = EmbedRequest(inputs=("a cat", "a dog", "the theory of relativity"))
    long: ClassVar[Any] = EmbedRequest(inputs=tuple(f"this is text number {n}" for n in range(64)))
    odd: ClassVar[tuple[Any, ...]] = (
        EmbedRequest(inputs=("",)),
        EmbedRequest(inputs=(" \n",)),
        EmbedRequest(inputs=("…",)),
        EmbedRequest(inputs=("🙂",)),
        EmbedRequest(inputs=("a\0b",)),
        EmbedRequest(inputs=("a cat", "")),
    )

    def rows(self, loaded: Loaded, *inputs: str, **fields: Any) -> list[Row]:
        """Return the vectors of texts."""
        return rows_of(loaded.events("embed", EmbedRequest(inputs=inputs, **fields)))

    def check_odd(self, events: list[Any]) -> None:
        """Assert of an odd answer what holds for all vectors."""
        claim_units(rows_of(events))

    def test_there_is_one_unit_vector_for_each_input(self, answered: list[Any]) -> None:
        """In order, without gaps, little-endian float32, of length 1."""
        rows = rows_of(answered)
        assert len(rows) == len(self.request.inputs), f"{len(self.request.inputs)} inputs give {len(rows)} vectors"
        claim_units(rows)

    def test_vectors_have_the_length_the_card_says(self, loaded: Loaded, answered: list[Any]) -> None:
        """The first of `dimensions` where a request names none, and each of them where it is named."""
        claimed = loaded.card.dimensions
        found = {event.dimensions for event in answered if isinstance(event, Vectors)}
        assert len(found) == 1, f"the vectors of one answer have the lengths {sorted(found)}"
        if claimed:
            assert found == {claimed[0]}, (
                f"vectors have {found.pop()} numbers, the card says dimensions={claimed}, the usual one first"
            )
        for size in claimed:
            events = loaded.events("embed", msgspec.structs.replace(self.request, dimensions=size))
            rows = rows_of(events)
            assert {len(row) for row in rows} == {size}, (
                f"dimensions={size} is on the card, and gives {len(rows[0])} numbers; "
                "honour request.dimensions, or leave it off the card"
            )
            claim_units(rows)

    def test_the_tokens_of_all_inputs_are_those_of_the_call(self, answered: list[Any]) -> None:
        """Where they are counted one by one, which a backend need not do."""
        *events, done = answered
        tokens = [count for event in events for count in event.tokens]
        if tokens:
            assert len(tokens) == len(self.request.inputs), (
                f"Vectors.tokens counts {len(tokens)} inputs of {len(self.request.inputs)}"
            )
            assert sum(tokens) == done.usage.input_tokens, (
                f"Vectors.tokens add up to {sum(tokens)}, Done.usage.input_tokens is {done.usage.input_tokens}; count alike"
            )

    def test_what_it_costs_is_counted(self, answered: list[Any]) -> None:
        """Clients are told what they used."""
        assert answered[-1].usage.input_tokens > 0, "Done.usage.input_tokens is 0; count the tokens of all inputs"

    def test_equal_inputs_give_equal_vectors(self, loaded: Loaded) -> None:
        """Whatever stands beside them."""
        first, other, last = self.rows(loaded, "the same text", "another one", "the same text")
        (alone,) = self.rows(loaded, "the same text")
        wrong = "equal texts give unequal vectors; a vector depends on its own text alone"
        assert alike(first, last) > 1 - NEAR, f"{wrong}, not on its place"
        assert alike(first, alone) > 1 - NEAR, f"{wrong}, not on those beside it"
        assert alike(first, other) < 1 - 1e-6, "different texts give equal vectors"

    def test_calls_at_once_do_not_mix(self, loaded: Loaded) -> None:
        """What is computed beside others is what is computed alone."""
        number = min(loaded.card.concurrency, 4)
        if number == 1:
            pytest.skip("there is one call at a time")
        requests = [EmbedRequest(inputs=(f"text {n}, part one", f"part two of {n}")) for n in range(number)]
        alone = [rows_of(loaded.events("embed", one)) for one in requests]

        async def all_at_once() -> list[list[Any]]:
            return await asyncio.gather(*(loaded.collect("embed", one) for one in requests))

        for before, events in zip(alone, loaded.run(all_at_once()), strict=True):
            beside = rows_of(events)
            same = len(beside) == len(before) and all(alike(a, b) > 1 - NEAR for a, b in zip(before, beside, strict=True))
            assert same, "beside others a call gives other vectors than alone: keep what belongs to a call in local variables"

    def test_a_text_that_is_too_long_is_refused_or_cut_and_told(self, loaded: Loaded) -> None:
        """Nothing is cut without a word: it takes `overlong="truncate"`, and the answer says which inputs were cut."""
        if "truncate" not in loaded.card.features or not loaded.card.context_length:
            pytest.skip("the card's features do not name truncate, or it has no context_length")
        text = "word and " * loaded.card.context_length
        try:
            self.rows(loaded, "short", text)
        except RequestError:
            pass
        else:
            pytest.fail(
                f"a text of more than context_length={loaded.card.context_length} tokens is cut without a word; "
                "raise BadInputError"
            )
        events = loaded.events("embed", EmbedRequest(inputs=("short", text), overlong="truncate"))
        cut = [number for event in events if isinstance(event, Vectors) for number in event.truncated]
        assert cut == [1], f"overlong='truncate' cuts input 1, and Vectors.truncated names {cut}"
