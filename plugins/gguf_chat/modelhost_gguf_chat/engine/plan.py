"""What the next decode holds. Nothing here computes or waits: rows and what they cost go in, shares come out."""

from collections.abc import Sequence
from typing import NamedTuple

from modelhost_gguf_chat.engine.costs import Costs

SMALLEST = 8
"""Tokens of a prompt that go into a step however little time there is. Chosen, because a decode of nine tokens takes hardly twice
as long as one of one (costs.py), and a prompt must end some day."""


class Row(NamedTuple):
    """A sequence that could be computed now."""

    sequence: int
    left: int
    """Tokens that are known and not computed: 1 where an answer is being written, more of a prompt."""
    arrived: int
    """Number of its job, in the order they came."""
    served: int
    """Number of the last step that computed something of it."""
    caller: str
    caller_served: int
    """Number of the last step that computed something of a prompt of the caller's."""
    priority: int = 0
    """Larger goes first, among prompts."""
    drafts: int = 0
    """Tokens that are guessed and would be checked with the one that is left; fewer than a step may hold."""

    @property
    def writes(self) -> bool:
        """Whether an answer is being written, of which the next token waits for this step."""
        return self.left == 1


class Share(NamedTuple):
    """How many tokens of a sequence are in the step; of drafts, that many are among them."""

    sequence: int
    size: int
    drafts: int = 0


class Limits(NamedTuple):
    """What a step must not exceed."""

    tokens: int
    """In one decode."""
    gap: float
    """Milliseconds that a running answer may wait for a step with prompts in it; 0 for any time."""


def plan(rows: Sequence[Row], costs: Costs, limits: Limits) -> list[Share]:
    """Return the shares of the next decode: first answers that are being written, then prompts as far as there is time.

    Without prompts the answers are computed in groups of the size that gives the most tokens a second, and take turns.
    """
    writing = sorted((row for row in rows if row.writes), key=lambda row: (row.served, row.arrived))
    prompts = _in_turn([row for row in rows if not row.writes])
    if not prompts:
        return _of_answers(writing, costs, limits)
    shares = [Share(row.sequence, 1) for row in writing[: limits.tokens - 1]]
    room = limits.tokens - len(shares)
    if shares:
        room = max(min(SMALLEST, room), min(room, costs.most_within(limits.gap, limits.tokens) - len(shares)))
    for row in prompts:
        if not room:
            break
        count = min(row.left, room)
        shares.append(Share(row.sequence, count))
        room -= count
    return shares


def _of_answers(writing: list[Row], costs: Costs, limits: Limits) -> list[Share]:
    most = min(len(writing), limits.tokens)
    size = costs.best_of({1, most, *costs.sizes(most)}) if most > 1 else most
    if size == 1:
        row = writing[0]
        return [Share(row.sequence, 1 + row.drafts, row.drafts)]
    return [Share(row.sequence, 1) for row in writing[:size]]


def _in_turn(prompts: list[Row]) -> list[Row]:
    """Order prompts: by priority, then callers in turn, then as they came."""
    return sorted(prompts, key=lambda row: (-row.priority, row.caller_served, row.arrived))
