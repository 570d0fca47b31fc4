"""Cuts what a hook yields to events that the host takes one at a time: it decodes each while everybody else waits."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

from msgspec.structs import replace

from modelhost.contract.event_stream import ClosableEvents
from modelhost.contract.types import TokenizeEvent, Tokens

MOST_TOKENS = 8192
"""Tokens of one event. Chosen, because decoding them takes the host under a millisecond."""

MOST_TEXT = 256 * 1024
"""Characters of one event. Chosen, because decoding them takes as long."""


async def in_portions(events: ClosableEvents[TokenizeEvent]) -> AsyncGenerator[TokenizeEvent, None]:
    """Yield events, in place of a large one several that say the same together; closes them."""
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Tokens):
                for portion in _portions(event):
                    yield portion
            else:
                yield event


def _portions(event: Tokens) -> Iterator[Tokens]:
    count = max(1, -(-len(event.tokens) // MOST_TOKENS), -(-len(event.text) // MOST_TEXT))
    if count == 1:
        yield event
        return
    for number in range(count):
        tokens = slice(number * MOST_TOKENS, (number + 1) * MOST_TOKENS)
        text = event.text[number * MOST_TEXT : (number + 1) * MOST_TEXT]
        yield replace(event, tokens=event.tokens[tokens], pieces=event.pieces[tokens], text=text)
