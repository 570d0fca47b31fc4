"""Turns that a chat template refuses, put where it takes them: as gguf_chat does, and the field."""

from collections.abc import Iterable, Sequence
from typing import Any

BETWEEN = "\n\n"
"""Stands between texts of turns that become one."""

Turn = dict[str, Any]


def with_system_in_place(turns: Sequence[Turn], *, first: bool) -> list[Turn]:
    """Put `system` turns before the text of the user's next turn, or at the end; where `first`, those at the start may stay."""
    placed: list[Turn] = []
    waiting: Turn | None = None
    for turn in turns:
        if turn["role"] == "system":
            if first and all(earlier["role"] == "system" for earlier in placed):
                placed = [together(placed[0], turn) if placed else turn]
            else:
                waiting = together(waiting, turn) if waiting else turn
        elif waiting and turn["role"] == "user":
            placed.append({**turn, "content": together(waiting, turn)["content"]})
            waiting = None
        else:
            placed.append(turn)
    return [*placed, {**waiting, "role": "user"}] if waiting else placed


def alternating(turns: Sequence[Turn]) -> list[Turn]:
    """Join adjacent turns of the user, or of the assistant without tool calls."""
    joined: list[Turn] = []
    for turn in turns:
        last = joined[-1] if joined else {"role": ""}
        if turn["role"] == last["role"] in ("user", "assistant") and not (turn.get("tool_calls") or last.get("tool_calls")):
            joined[-1] = together(last, turn)
        else:
            joined.append(turn)
    return joined


def together(one: Turn, two: Turn) -> Turn:
    """Return a turn with the contents of two, one after the other."""
    first, second = one["content"], two["content"]
    if not first or not second:
        return {**one, "content": first or second}
    if isinstance(first, str) and isinstance(second, str):
        return {**one, "content": f"{first}{BETWEEN}{second}"}
    return {**one, "content": side_by_side([*_parts(first), {"type": "text", "text": BETWEEN}, *_parts(second)])}


def side_by_side(parts: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    """Join adjacent texts, so that a control token's name split over two of them is seen as one."""
    joined: list[dict[str, str]] = []
    for part in parts:
        if joined and part["type"] == joined[-1]["type"] == "text":
            joined[-1] = {"type": "text", "text": joined[-1]["text"] + part["text"]}
        else:
            joined.append(part)
    return joined


def _parts(content: str | list[dict[str, str]]) -> list[dict[str, str]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content
