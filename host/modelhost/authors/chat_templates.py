"""What is said of a chat template that does more than it may: a template comes with a model, so it is a stranger's program."""

from typing import Any

from modelhost.contract.errors import BadInputError, ModelhostError, NotReadyError

LONG = 64
"""Turns, and thousands of characters, from which on it is the conversation that is too long, not the template that is bad.
Chosen, because any good template renders shorter ones at once."""


class OverBoundError(Exception):
    """A template does more than it may; the text goes on after "this model's chat template"."""


def told_over_bound(error: OverBoundError, turns: list[Any], remedy: str) -> ModelhostError:
    """Return what a caller is told, by who can put it right; `remedy` is what the model's operator can do."""
    length = characters(turns)
    if len(turns) <= LONG and length <= LONG * 1000:
        return NotReadyError(f"this model's chat template {error}; {remedy}", retry=False)
    return BadInputError(
        f"this conversation is too long for this model's chat template, which {error}: "
        f"{len(turns)} messages with {length} characters; leave older ones out",
        code="context_length_exceeded",
        param="messages",
    )


def characters(value: Any) -> int:
    """Return how many characters are in a JSON value, keys included."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(len(key) + characters(item) for key, item in value.items())
    return sum(map(characters, value)) if isinstance(value, list) else 1
