"""Cuts what a hook yields to events that the host takes one at a time: it decodes each while everybody else waits."""

from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from modelhost.contract.types import Tokens

MOST_TOKENS = 8192
"""Tokens of one event. Chosen, because decoding them takes the host under a millisecond."""

MOST_TEXT = 256 * 1024
"""Characters of one event. Chosen, because decoding them takes as long."""


def split_event(event: Any) -> Iterator[Any]:
    """Yield an event, or several that say the same together."""
    if not isinstance(event, Tokens) or (len(event.tokens) <= MOST_TOKENS and len(event.text) <= MOST_TEXT):
        yield event
        return
    count = max(-(-len(event.tokens) // MOST_TOKENS), -(-len(event.text) // MOST_TEXT))
    for number in range(count):
        tokens = slice(number * MOST_TOKENS, (number + 1) * MOST_TOKENS)
        text = event.text[number * MOST_TEXT : (number + 1) * MOST_TEXT]
        yield replace(event, tokens=event.tokens[tokens], pieces=event.pieces[tokens], text=text)
