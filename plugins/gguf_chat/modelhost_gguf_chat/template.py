"""Conversations to prompts, by the model's chat template.

A template comes with a downloaded file, so it is a stranger's program. It runs in Jinja's immutable sandbox; its
size, the length of `range`, what `*`, `**` and `%` may make, its output and its time are bounded. Time is looked at in
every turn of a loop, at every call of a macro and at every piece of output, which covers whatever repeats. Not
covered: one single expression that takes long or makes something huge without repeating, such as a filter with a vast
width. Against that helps only what the host can do: end the worker process.
"""

import datetime
import json
import re
import time
from contextvars import ContextVar
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context as TemplateContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer
from modelhost import BadInputError, Message, NotReadyError, TextPart, UnsupportedError

from modelhost_gguf_chat.placeholders import DamagedError, Placeholders
from modelhost_gguf_chat.tokens import Piece

MAX_TEMPLATE = 64 * 1024
"""Characters of a template."""
MAX_RANGE = 10_000
MAX_PRODUCT = 1_000_000
"""Elements or characters that repeating with `*` may make."""
MAX_BITS = 4096
"""Size of a number that `**` may make."""
MAX_OWN_OUTPUT = 256 * 1024
"""Characters a template may put out over eight times what the messages hold."""
MAX_SECONDS = 2.0
MAX_REFUSAL = 300
"""Characters of the message a template may refuse a conversation with."""


class ChatTemplate:
    """A compiled chat template; `render` may be called from any thread."""

    def __init__(self, source: str, *, bos: str = "", eos: str = "", max_seconds: float = MAX_SECONDS) -> None:
        """Compile; raises `BadInputError` for a template that is too long or has an error in it."""
        if len(source) > MAX_TEMPLATE:
            raise BadInputError(
                f"the chat template has {len(source)} characters, {MAX_TEMPLATE} are allowed", param="chat_template"
            )
        self._max_seconds = max_seconds
        environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
        try:
            tree = _Ticking().visit(environment.parse(source))
            code = environment.compile(tree)
            self._template = environment.template_class.from_code(environment, code, environment.make_globals(None))
        except (TemplateError, RecursionError) as error:
            where = f" in line {lineno}" if (lineno := getattr(error, "lineno", None)) else ""
            raise BadInputError(
                f"the chat template has an error{where} ({type(error).__name__}); correct the option `chat_template`",
                param="chat_template",
            ) from None
        self._given = {
            "bos_token": bos,
            "eos_token": eos,
            "add_generation_prompt": True,
            "tools": None,
            "documents": None,
        }
        self._typed = False
        self._typed = self._wants_typed_content()

    def render(self, messages: tuple[Message, ...]) -> list[Piece]:
        """Give the prompt that asks for the answer to a conversation.

        Raises `BadInputError` where the template refuses it, `UnsupportedError` for parts that are not text,
        `NotReadyError` where the template is over its bounds.
        """
        hidden = Placeholders()
        values = [self._message(message, hidden) for message in messages]
        bound = MAX_OWN_OUTPUT + 8 * sum(_length(message) for message in messages)
        rendering = _Rendering(hidden, time.monotonic() + self._max_seconds)
        token = _rendering.set(rendering)
        try:
            chunks, size = [], 0
            for chunk in self._template.generate(messages=values, **self._given):
                rendering.tick()
                size += len(chunk)
                if size > bound:
                    raise _OverBoundError("makes too much of this conversation")
                chunks.append(chunk)
            pieces = hidden.split("".join(chunks))
            if sum(len(piece.text) for piece in pieces) > bound:
                raise _OverBoundError("makes too much of this conversation")
        except _RefusedError as refusal:
            raise BadInputError(f"this model's chat template refuses the conversation: {refusal}", param="messages") from None
        except _OverBoundError as error:
            raise NotReadyError(
                f"this model's chat template {error}; set the option `chat_template` to another one", retry=False
            ) from None
        except DamagedError:
            raise UnsupportedError(
                "this model's chat template rewrites messages in a way that cannot be followed safely; "
                "set the option `chat_template` to another one",
                param="messages",
            ) from None
        except Exception as error:  # a template can raise anything Python can; its text may quote a message
            raise BadInputError(
                f"this model's chat template failed on the conversation ({type(error).__name__}); check roles and their order",
                param="messages",
            ) from None
        finally:
            _rendering.reset(token)
        return pieces

    def _message(self, message: Message, hidden: Placeholders) -> dict[str, Any]:
        for part in message.content:
            if not isinstance(part, TextPart):
                raise UnsupportedError("this model reads text alone; leave other parts out", param="messages")
        text = hidden.hide(message.text)
        value: dict[str, Any] = {
            "role": "system" if message.role == "developer" else message.role,
            "content": [{"type": "text", "text": text}] if self._typed else text,
        }
        if message.name is not None:
            value["name"] = hidden.hide(message.name)
        if message.reasoning is not None:
            value["reasoning_content"] = value["thinking"] = hidden.hide(message.reasoning)
        if message.tool_call_id is not None:
            value["tool_call_id"] = hidden.hide(message.tool_call_id)
        if message.tool_calls:
            value["tool_calls"] = hidden.hide_all(
                [
                    {
                        "id": call.id,
                        "type": "function",
                        "function": {"name": call.name, "arguments": _arguments(call.arguments)},
                    }
                    for call in message.tool_calls
                ]
            )
        return value

    def _wants_typed_content(self) -> bool:
        """Find out whether the template drops content that is a string and shows content that is a list of parts."""
        probe = (Message(role="user", content=(TextPart(text="probe"),)),)

        def shown() -> bool:
            try:
                return any(piece.text == "probe" and not piece.trusted for piece in self.render(probe))
            except (BadInputError, NotReadyError, UnsupportedError):
                return False

        if shown():
            return False
        self._typed = True
        return shown()


class _RefusedError(Exception):
    pass


class _OverBoundError(Exception):
    pass


class _Rendering:
    """What is going on: the texts that are hidden in it, and until when it must be done."""

    def __init__(self, hidden: Placeholders, deadline: float) -> None:
        self.hidden = hidden
        self.deadline = deadline

    def tick(self) -> None:
        if time.monotonic() > self.deadline:
            raise _OverBoundError("takes too long")


_rendering: ContextVar[_Rendering] = ContextVar("rendering")


class _Sandbox(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"*", "**", "%"})

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.globals |= {"range": _range, "raise_exception": _raise_exception, "strftime_now": _strftime_now}
        self.filters |= {"replace": _replace, "tojson": _tojson, "trim": _trim}

    def tick(self) -> str:
        """Raise when time is up; the tree calls this wherever something can repeat."""
        _rendering.get().tick()
        return ""

    def call_binop(self, context: TemplateContext, operator: str, left: Any, right: Any) -> Any:
        """Compute `*`, `**` and `%` where the result is not huge."""
        if operator == "**" and isinstance(left, int) and isinstance(right, int) and left.bit_length() * right > MAX_BITS:
            raise _OverBoundError("computes too large a power")
        if (
            operator == "*"
            and isinstance(left, int)
            and isinstance(right, int)
            and left.bit_length() + right.bit_length() > MAX_BITS
        ):
            raise _OverBoundError("computes too large a product")
        if operator == "%" and isinstance(left, str) and re.search(r"%[^a-zA-Z%]*(\d{4}|\*)", left):
            raise _OverBoundError("formats to too great a width")
        for times, what in ((left, right), (right, left)):
            if isinstance(times, int) and hasattr(what, "__len__") and times * len(what) > MAX_PRODUCT:
                raise _OverBoundError("makes too long a sequence")
        return super().call_binop(context, operator, left, right)


class _Ticking(NodeTransformer):
    """Puts a look at the clock at the beginning of every loop's turn and every macro."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802  # Jinja's visitors are named after nodes
        return self._begin_with_tick(node)

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:  # noqa: N802
        return self._begin_with_tick(node)

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.Node:  # noqa: N802
        return self._begin_with_tick(node)

    def _begin_with_tick(self, node: nodes.For | nodes.Macro | nodes.CallBlock) -> nodes.Node:
        self.generic_visit(node)
        tick = nodes.Call(nodes.EnvironmentAttribute("tick"), [], [], None, None)
        node.body.insert(0, nodes.ExprStmt(tick).set_lineno(node.lineno))
        return node


class _Generation(Extension):
    """`{% generation %}`, with which templates mark what a model is trained on; it changes nothing here."""

    tags = {"generation"}  # Jinja's declaration

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _range(*bounds: int) -> range:
    made = range(*bounds)
    if len(made) > MAX_RANGE:
        raise _OverBoundError("counts too far")
    return made


def _raise_exception(message: object) -> None:
    shown = re.sub("\ue000[^\ue001]*\ue001", "…", str(message))  # never what a message says
    raise _RefusedError(shown[:MAX_REFUSAL])


def _strftime_now(form: str) -> str:
    if len(form) > 100 or re.search(r"%[^a-zA-Z%]*\d", form):
        raise SecurityError("a date format with widths")
    return datetime.datetime.now().astimezone().strftime(str(form))


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False
) -> str:
    hidden = _rendering.get().hidden
    written = json.dumps(
        hidden.reveal(value), ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
    return hidden.hide(written)


def _replace(value: Any, old: str, new: str, count: int = -1) -> str:
    text = value if isinstance(value, str) else str(value)  # Jinja's own filter would make a bare string of it
    return _rendering.get().hidden.each(text, lambda words: words.replace(old, new, count))


def _trim(value: Any, chars: str | None = None) -> str:
    return _rendering.get().hidden.trim(value if isinstance(value, str) else str(value), chars)


def _arguments(written: str) -> Any:
    """Give a call's arguments as templates want them: an object, or the text where it is none."""
    try:
        value = json.loads(written)
    except (ValueError, RecursionError):
        return written
    return value if isinstance(value, dict) else written


def _length(message: Message) -> int:
    calls = sum(len(call.name) + len(call.arguments) + len(call.id) for call in message.tool_calls)
    return len(message.text) + len(message.reasoning or "") + len(message.name or "") + calls
