"""Embeddings as they come: events of some rows each, collected into one row an input and checked on the way."""

import sys
from array import array
from contextlib import aclosing

from modelhost.contract.errors import BackendFailedError
from modelhost.contract.event_stream import ClosableEvents
from modelhost.contract.structs import Struct
from modelhost.contract.types import Done, EmbedEvent, Usage, Vectors

FLOAT_BYTES = 4


class Rows(Struct):
    """The vectors of a request's inputs, in order: little-endian float32, all of one length."""

    vectors: list[bytes]
    truncated: tuple[int, ...] = ()
    """Numbers of the inputs that were cut."""
    tokens: tuple[int, ...] = ()
    """Tokens of each input; empty where the backend does not count them one by one."""
    usage: Usage = Usage()

    @property
    def dimensions(self) -> int:
        """Numbers in a row."""
        return len(self.vectors[0]) // FLOAT_BYTES


async def collect(events: ClosableEvents[EmbedEvent], count: int) -> Rows:
    """Wait for the vectors of `count` inputs. Raises `BackendFailedError` where there is not one of equal length for each."""
    vectors = [b""] * count
    tokens: dict[int, int] = {}
    truncated: set[int] = set()
    usage = Usage()
    async with aclosing(events):
        async for event in events:
            match event:
                case Vectors():
                    _place(event, vectors)
                    truncated.update(event.truncated)
                    tokens.update(enumerate(event.tokens, event.first))
                case Done():
                    usage = event.usage
    if len({len(row) for row in vectors}) != 1 or not vectors[0] or not truncated <= set(range(count)):
        raise BackendFailedError("the model did not give a vector of one length for each input")
    counts = tuple(tokens[number] for number in range(count)) if len(tokens) == count else ()
    return Rows(vectors=vectors, truncated=tuple(sorted(truncated)), tokens=counts, usage=usage)


def _place(event: Vectors, vectors: list[bytes]) -> None:
    size = event.dimensions * FLOAT_BYTES
    count, rest = divmod(len(event.data), size) if size > 0 else (0, 1)
    if rest or event.first < 0 or event.first + count > len(vectors):
        raise BackendFailedError("the model gave vectors that are of no input")
    if len(event.tokens) not in (0, count) or any(tokens < 0 for tokens in event.tokens):
        raise BackendFailedError("the model's numbers of tokens are not those of its vectors")
    for row in range(count):
        vectors[event.first + row] = bytes(event.data[row * size : (row + 1) * size])


def numbers(row: bytes) -> list[float]:
    """Return a row's numbers."""
    values = array("f", row)
    if sys.byteorder == "big":
        values.byteswap()
    return values.tolist()
