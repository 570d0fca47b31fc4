"""Finding out what a chat template can show, by trying it with small conversations when the model is loaded."""

from collections.abc import Callable
from typing import Literal

from modelhost import Message, TextPart, ToolCall

from modelhost_gguf_chat.shape import Calls, Shape

Show = Callable[[tuple[Message, ...], Shape], str | None]
"""Renders a conversation; None where the template refuses it or fails."""

ID = "call_0a1b2c3d4e5f60718293a4b5"
"""An id as OpenAI's clients have them."""

CALL = ("Qtoolq", "Qkeyq", "Qvalueq")
"""What must be seen of a call."""
REST = ("Qresultq", "Qanswerq", "Qlastq")
"""What must be seen of what followed it."""


def find_shape(show: Show) -> Shape:
    """Find the shape in which a template shows most; nothing is raised for one that shows nothing."""
    shape = Shape()
    ask = (_say("user", "Qaskq"),)
    ways = (shape, shape._replace(parts=True), shape._replace(no_tools=[]))
    shape = next((way for way in ways if _shows(show, ask, way, "Qaskq")), shape)
    shape = shape._replace(repeats=_repeats(show, shape))
    shape = shape._replace(system=_system(show, shape))
    return _with_tools(show, shape)


def _repeats(show: Show, shape: Shape) -> bool:
    talk = (_say("user", "Qaskq"), _say("user", "Qmoreq"), _say("assistant", "Qsayq"), _say("assistant", "Qalsoq"))
    return _shows(show, (*talk, _say("user", "Qlastq")), shape, "Qaskq", "Qmoreq", "Qsayq", "Qalsoq", "Qlastq")


def _system(show: Show, shape: Shape) -> Literal["anywhere", "first", "never"]:
    first = (_say("system", "Qruleq"), _say("user", "Qaskq"))
    late = (*first, _say("assistant", "Qsayq"), _say("system", "Qlateq"), _say("user", "Qlastq"))
    second = (_say("system", "Qruleq"), _say("system", "Qmoreq"), _say("user", "Qaskq"))
    if not _shows(show, first, shape, "Qruleq", "Qaskq"):
        return "never"
    if _shows(show, late, shape, "Qruleq", "Qlateq", "Qlastq") and _shows(show, second, shape, "Qruleq", "Qmoreq"):
        return "anywhere"
    return "first"


def _with_tools(show: Show, shape: Shape) -> Shape:
    """Find how calls and their results are shown: in the template's own form, else as words."""
    for calls, results in ((calls, results) for results in (True, False) for calls in _ways()):
        tried = shape._replace(results=results)
        null, empty = (show(_called(), tried._replace(calls=calls._replace(null=null))) for null in (True, False))
        shown = [text for text in (null, empty) if text is not None and _has(text, *CALL)]
        if not any(_has(text, *CALL, *REST) for text in shown):
            continue
        # a template that says None, or null, means it no more than its author did
        says_more = len(shown) == 2 and any(shown[0].count(word) > shown[1].count(word) for word in ("None", "null"))
        calls = calls._replace(null=shown[0] is null and not says_more)
        calls = calls._replace(many=_shows(show, _called(calls=2), tried._replace(calls=calls), *CALL, *REST, "Qtoolq1"))
        return tried._replace(calls=_beside(show, tried, calls))
    return shape._replace(calls=None, results=_shows(show, _called(), shape._replace(calls=None), *REST))


def _beside(show: Show, shape: Shape, calls: Calls) -> Calls:
    """Find out whether a turn may have words and calls, and thoughts beside them."""
    needles = ("Qsayq", *CALL, *REST)
    spoken, thought = _called("Qsayq"), _called("Qsayq", "Qthinkq")
    if not _shows(show, spoken, shape._replace(calls=calls), *needles):
        apart = calls._replace(beside="never")
        return apart if _shows(show, spoken, shape._replace(calls=apart), *needles) else calls
    if not _shows(show, thought, shape._replace(calls=calls), *needles):
        apart = calls._replace(beside="thoughtless")
        return apart if _shows(show, thought, shape._replace(calls=apart), *needles) else calls
    return calls


def _called(words: str = "", thoughts: str | None = None, *, calls: int = 1) -> tuple[Message, ...]:
    """Return a conversation in which the model called a tool, and went on with its results."""
    made = [ToolCall(id=f"{ID}{n or ''}", name=f"Qtoolq{n or ''}", arguments='{"Qkeyq": "Qvalueq"}') for n in range(calls)]
    return (
        _say("user", "Qaskq"),
        _say("assistant", words, reasoning=thoughts, tool_calls=tuple(made)),
        *(_say("tool", "Qresultq", tool_call_id=call.id) for call in made),
        _say("assistant", "Qanswerq"),
        _say("user", "Qlastq"),
    )


def _ways() -> list[Calls]:
    return [Calls(text=text, short_ids=short) for short in (False, True) for text in (False, True)]


def _shows(show: Show, messages: tuple[Message, ...], shape: Shape, *needles: str) -> bool:
    return _has(show(messages, shape), *needles)


def _has(text: str | None, *needles: str) -> bool:
    return text is not None and all(needle in text for needle in needles)


def _say(role: str, text: str, **more: object) -> Message:
    return Message(role=role, content=(TextPart(text=text),), **more)  # type: ignore[arg-type]


SAMPLE = (_say("system", "Qruleq"), *_called("Qsayq"))
"""A conversation that has a bit of everything."""
