"""Conversations in the shape a chat template wants them: templates differ in what they know and in what they refuse."""

import hashlib
import json
from typing import Any, Literal, NamedTuple

from modelhost import Message, TextPart, ToolCall, UnsupportedError

from modelhost_gguf_chat.origins import Traced, own, traced

Values = list[dict[str, Any]]
"""A conversation as a template sees it."""

BETWEEN = "\n\n"
"""Stands between texts of turns that become one."""


class Calls(NamedTuple):
    """How a template shows past calls of tools."""

    null: bool = True
    """Whether a turn that only calls has the content null; else it is empty."""
    text: bool = False
    """Whether arguments are JSON in a string; else they are an object."""
    short_ids: bool = False
    """Whether ids have nine letters and digits, as Mistral's must."""
    many: bool = True
    """Whether a turn may have several; else each has a turn of its own, and its result after it."""
    beside: Literal["always", "thoughtless", "never"] = "always"
    """Whether calls are shown beside words, or only where the turn has no thoughts; else the words have a turn of their own."""


class Shape(NamedTuple):
    """What a template can show, as `probing.find_shape` has found out."""

    parts: bool = False
    """Whether contents are lists of parts."""
    no_tools: list[Any] | None = None
    """What stands for tools where a request has none."""
    system: Literal["anywhere", "first", "never"] = "anywhere"
    """Where turns of the role `system` may stand; others are put before the words of the user's next turn."""
    repeats: bool = True
    """Whether one role may have two turns in a row; else they become one."""
    calls: Calls | None = Calls()
    """None where calls are not shown: then they are written as words, and so are their results."""
    results: bool = True
    """Whether turns of the role `tool` are shown; else results are words of the user."""


def values_of(messages: tuple[Message, ...], shape: Shape) -> Values:
    """Return a conversation as the template wants it; raises `UnsupportedError` for parts that are not text."""
    for message in messages:
        if not all(isinstance(part, TextPart) for part in message.content):
            raise UnsupportedError("this model reads text alone; leave other parts out", param="messages")
    turns = [_Turn(message) for message in messages]
    turns = _with_calls_in_words(turns, shape)
    if shape.calls and not shape.calls.many:
        turns = _one_by_one(turns)
    turns = _with_system_in_place(turns, shape)
    if not shape.repeats:
        turns = _alternating(turns)
    return [value for turn in turns for value in _written(turn, shape)]


class _Turn:
    """A message on its way to the template."""

    def __init__(self, message: Message) -> None:
        self.message = message
        self.role = "system" if message.role == "developer" else message.role
        self.texts = [part.text for part in message.content if isinstance(part, TextPart)]
        self.name = message.name
        self.reasoning = message.thoughts
        self.calls = list(message.tool_calls)
        self.tool_call_id = message.tool_call_id

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def calling(self, call: ToolCall, *, first: bool) -> "_Turn":
        """Return this turn with one of its calls; the first one has all the rest."""
        turn = _Turn(self.message if first else Message(role=self.message.role))
        turn.calls = [call]
        return turn

    def join(self, other: "_Turn") -> None:
        """Take in the turn that comes after this one."""
        self.texts = [BETWEEN.join(text for text in (self.text, other.text) if text)]
        self.reasoning = BETWEEN.join(text for text in (self.reasoning, other.reasoning) if text) or None
        self.calls += other.calls


def _with_calls_in_words(turns: list[_Turn], shape: Shape) -> list[_Turn]:
    for turn in turns:
        if turn.calls and shape.calls is None:
            called = [{"name": call.name, "arguments": _arguments(call)} for call in turn.calls]
            written = json.dumps({"tool_calls": called}, ensure_ascii=False)
            turn.texts = [BETWEEN.join(text for text in (turn.text, written) if text)]
            turn.calls = []
        if turn.role == "tool" and not shape.results:
            answer = {"tool_response": {"tool_call_id": turn.tool_call_id, "content": turn.text}}
            turn.texts = [json.dumps(answer, ensure_ascii=False)]
            turn.role, turn.tool_call_id = "user", None
    return turns


def _one_by_one(turns: list[_Turn]) -> list[_Turn]:
    """Return each call a turn of its own, with its results behind it."""
    apart: list[_Turn] = []
    waiting: list[_Turn] = []
    for turn in turns:
        if turn.role == "tool" and waiting:
            at = next((at for at, caller in enumerate(waiting) if caller.calls[0].id == turn.tool_call_id), 0)
            apart += (waiting.pop(at), turn)
            continue
        apart += waiting
        waiting = [turn.calling(call, first=not at) for at, call in enumerate(turn.calls)]
        if not waiting:
            apart.append(turn)
    return [*apart, *waiting]


def _with_system_in_place(turns: list[_Turn], shape: Shape) -> list[_Turn]:
    """Put system turns that may not stand where they are before the user's next words, or before the end."""
    if shape.system == "anywhere":
        return turns
    placed: list[_Turn] = []
    waiting: _Turn | None = None
    for turn in turns:
        if turn.role != "system":
            if waiting and turn.role == "user":
                waiting.join(turn)
                turn.texts = waiting.texts
                waiting = None
            placed.append(turn)
        elif shape.system == "first" and all(earlier.role == "system" for earlier in placed):
            if placed:
                placed[0].join(turn)
            else:
                placed.append(turn)
        elif waiting:
            waiting.join(turn)
        else:
            waiting = turn
    if waiting:
        waiting.role = "user"
        placed.append(waiting)
    return placed


def _alternating(turns: list[_Turn]) -> list[_Turn]:
    joined: list[_Turn] = []
    for turn in turns:
        if joined and turn.role == joined[-1].role and turn.role in ("user", "assistant"):
            joined[-1].join(turn)
        else:
            joined.append(turn)
    return joined


def _written(turn: _Turn, shape: Shape) -> Values:
    calls = shape.calls or Calls()
    value: dict[str, Any] = {"role": own(turn.role), "content": _content(turn.texts, shape)}
    if turn.name is not None:
        value["name"] = Traced(turn.name)
    if turn.reasoning is not None:
        value |= dict.fromkeys(("reasoning_content", "reasoning", "thinking"), Traced(turn.reasoning))
    if turn.tool_call_id is not None:
        value["tool_call_id"] = Traced(_id(turn.tool_call_id, calls))
    if not turn.calls:
        return [value]
    apart = bool(turn.text) and (calls.beside == "never" or (calls.beside == "thoughtless" and turn.reasoning is not None))
    before = [dict(value)] if apart else []
    if apart:
        value = {"role": value["role"]}
    if apart or not turn.text:
        value["content"] = None if calls.null else _content([], shape)
    value["tool_calls"] = [_call(call, calls) for call in turn.calls]
    return [*before, value]


def _content(texts: list[str], shape: Shape) -> Any:
    if shape.parts:
        return [{"type": own("text"), "text": Traced(text)} for text in texts]
    return Traced("".join(texts))


def _call(call: ToolCall, calls: Calls) -> dict[str, Any]:
    return {
        "id": Traced(_id(call.id, calls)),
        "type": own("function"),
        "function": {
            "name": Traced(call.name),
            "arguments": Traced(call.arguments) if calls.text else traced(_arguments(call)),
        },
    }


def _id(written: str, calls: Calls) -> str:
    """Return an id as the template wants it: the same one for a call and its result."""
    return hashlib.sha256(written.encode("utf-8", "replace")).hexdigest()[:9] if calls.short_ids else written


def _arguments(call: ToolCall) -> Any:
    """Return a call's arguments as an object, or the text where it is none."""
    try:
        value = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        return call.arguments
    return value if isinstance(value, dict) else call.arguments
