"""Conversations to prompts, by the model's chat template."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jinja2 import Template, TemplateError
from modelhost import BadInputError, Message, Tool
from modelhost.authors.chat_templates import OverBoundError, characters, told_over_bound

from modelhost_gguf_chat import bounds
from modelhost_gguf_chat.bounds import Budget
from modelhost_gguf_chat.filters import RefusedError
from modelhost_gguf_chat.origins import Piece, Traced, joined, own, pieces, traced
from modelhost_gguf_chat.sandbox import Sandbox
from modelhost_gguf_chat.shape import Shape, Values, values_of
from modelhost_gguf_chat.template_probe import SAMPLE, find_shape

MAX_TEMPLATE = 64 * 1024
"""Characters of a template. Chosen, because the longest of some seventy published ones has 17,000."""
MAX_OWN_OUTPUT = 256 * 1024
"""Characters a template may put out over eight times what the messages hold. Chosen, because a template's own text has some
thousand."""
MADE_FOR_EACH = 64
"""Characters it may make on the way for each of the messages', over `bounds.MAX_MADE`. Chosen, because templates copy a
conversation a few times."""
MAX_SECONDS = 5.0
"""Seconds of processor time. Chosen, because 1,000 turns, with a template that looks at all of them at each, take one or two."""
MAX_PROBING_SECONDS = 1.0
"""The same for all small conversations together that a template is tried with. Chosen, because published ones take up to 0.2."""
MAX_PROBE_MADE = 2 * 1024 * 1024
"""Characters a template may make of each of them. Chosen, because they are a few turns of a few words."""
SHOWN = 80
"""Characters of a template's line that a message shows. Chosen, because the error stays in one line."""


class ChatTemplate:
    """A compiled chat template; `render` may be called from any thread."""

    def __init__(self, source: str, *, bos: str = "", eos: str = "", max_seconds: float = MAX_SECONDS) -> None:
        """Compile it and find out its shape; raises `BadInputError` for a template that is too long or has an error in it."""
        if len(source) > MAX_TEMPLATE:
            raise BadInputError(
                f"the chat template has {len(source)} characters, {MAX_TEMPLATE} are allowed", param="chat_template"
            )
        self._lines = source.splitlines()
        self._max_seconds = max_seconds
        self._template = _compiled(source)
        self._names = {"bos_token": own(bos), "eos_token": own(eos)}
        self._probing_until = time.thread_time() + MAX_PROBING_SECONDS
        self.shape = find_shape(self._probe)

    def render(
        self,
        messages: tuple[Message, ...],
        *,
        tools: tuple[Tool, ...] = (),
        generation_prompt: bool = True,
        continues: bool = False,
    ) -> list[Piece]:
        """Return the prompt that asks for the answer to a conversation.

        With `generation_prompt` it ends with what begins an answer; with `continues` in the midst of the last message,
        which has to be the model's own, so that the answer goes on with it.

        Raises `BadInputError` where the template refuses it or it is too long for it, `UnsupportedError` for parts that
        are not text, `NotReadyError` where the template is over its bounds.
        """
        values = self.values(messages, tools)
        with self._error_of(values["messages"]):
            if not continues:
                return pieces(self._rendered(values, generation_prompt))
            return pieces(self._continued(values, messages[-1].text))

    def sample(self) -> list[Piece]:
        """Return the prompt of a small conversation, to see what the template's own words are; empty where it shows none."""
        text = self._probe(SAMPLE, self.shape)
        return pieces(text) if isinstance(text, Traced) else []

    def values(self, messages: tuple[Message, ...], tools: tuple[Tool, ...] = ()) -> dict[str, Any]:
        """Return what the template sees, but for `add_generation_prompt`."""
        return self._seen(messages, self.shape, tools)

    def _seen(self, messages: tuple[Message, ...], shape: Shape, tools: tuple[Tool, ...] = ()) -> dict[str, Any]:
        turns = values_of(messages, shape)
        return {"messages": turns, "tools": _tools(tools) or shape.no_tools, "documents": None, **self._names}

    def _rendered(self, values: dict[str, Any], generation_prompt: bool, budget: Budget | None = None) -> Traced:
        length = characters(values["messages"]) + characters(values["tools"])
        budget = budget or Budget(seconds=self._max_seconds, made=bounds.MAX_MADE + MADE_FOR_EACH * length)
        left = MAX_OWN_OUTPUT + 8 * length
        token = bounds.rendering.set(budget)
        try:
            chunks = []
            for chunk in self._template.generate(**values, add_generation_prompt=generation_prompt):
                budget.tick()
                left -= len(chunk)
                if left < 0:
                    raise OverBoundError("makes too much of this conversation")
                chunks.append(chunk)
            return joined(chunks)
        finally:
            bounds.rendering.reset(token)

    def _continued(self, values: dict[str, Any], text: str) -> Traced:
        """Return the prompt that ends with the last message's text: as the template writes it, without what ends the turn.

        Where the template does not write the text as it is, it follows what begins an answer.
        """
        whole = self._rendered(values, False)
        kept = text.strip()
        at = whole.rfind(kept) if kept else -1
        while at >= 0 and whole[at : at + len(kept)].own:  # the template has such a word, too
            at = whole.rfind(kept, 0, at + len(kept) - 1)
        rest = whole[at + len(kept) :]
        if at >= 0 and not any(piece.text.strip() for piece in pieces(rest) if not piece.trusted):
            return joined([whole[: at + len(kept)], Traced(text[len(text.rstrip()) :])])
        begun = values | {"messages": values["messages"][:-1]}
        return joined([self._rendered(begun, True), Traced(text)])

    def _probe(self, messages: tuple[Message, ...], shape: Shape) -> str | None:
        budget = Budget(seconds=self._probing_until - time.thread_time(), made=MAX_PROBE_MADE)
        try:
            return self._rendered(self._seen(messages, shape), True, budget)
        except Exception:  # whatever it is, it is a no
            return None

    @contextmanager
    def _error_of(self, turns: Values) -> Iterator[None]:
        """Describe what a rendering raised, without a word of the conversation."""
        try:
            yield
        except RefusedError as refusal:
            raise BadInputError(f"this model's chat template refuses the conversation: {refusal}", param="messages") from None
        except OverBoundError as error:
            raise told_over_bound(error, turns, "its operator can set another one with `chat_template_file`") from None
        except Exception as error:  # a template can raise anything Python can; its text may quote a message
            hint = "check roles and their order"
            if any(isinstance(call["function"]["arguments"], str) for turn in turns for call in turn.get("tool_calls", ())):
                hint = "the arguments of a past call are no JSON object, which may be why"
            raise BadInputError(
                f"this model's chat template failed on the conversation{self._failure_place(error)}; {hint}, "
                "or tell the model's operator",
                param="messages",
            ) from None

    def _failure_place(self, error: Exception) -> str:
        """Return where in the template and with what kind of error it failed."""
        kind = type(error).__name__
        trace, line = error.__traceback__, 0
        while trace:  # Jinja has put the template's own lines in the place of those it compiled them to
            if trace.tb_frame.f_code.co_filename == "<template>":
                line = trace.tb_lineno
            trace = trace.tb_next
        if not 0 < line <= len(self._lines):
            return f" ({kind})"
        return f" ({kind} in its line {line}: {self._lines[line - 1].strip()[:SHOWN]})"


def _compiled(source: str) -> Template:
    try:
        return Sandbox().compiled(source)
    except TemplateError as error:
        where = f" in line {lineno}" if (lineno := getattr(error, "lineno", None)) else ""
        why = f"{type(error).__name__}: {str(error)[:SHOWN]}"
    except Exception as error:  # Python's compiler has bounds of its own, and as many errors
        where, why = "", type(error).__name__
    raise BadInputError(f"the chat template has an error{where} ({why})", param="chat_template")


def _tools(tools: tuple[Tool, ...]) -> list[Any] | None:
    if not tools:
        return None
    return [
        {
            "type": own("function"),
            "function": traced(
                {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.parameters or {"type": "object", "properties": {}},
                }
            ),
        }
        for tool in tools
    ]
