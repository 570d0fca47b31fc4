"""Renders conversations by a model's chat template, with tokens for the sound in them."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import jinja2
from modelhost import AudioPart, BadInputError, Message, TextPart, Tool, UnsupportedError
from modelhost.authors.chat_templates import OverBoundError, characters, told_over_bound
from modelhost.authors.processor_time import ProcessorTimeError, within_processor_time

from modelhost_gemma_audio.audio_features import Clip
from modelhost_gemma_audio.checkpoint import Checkpoint
from modelhost_gemma_audio.turns import alternating, side_by_side, with_system_in_place
from modelhost_gemma_audio.vocabulary import MAX_TEXT, Vocabulary

AROUND = {"gemma3n": "\n\n", "gemma4": "", "gemma4_unified": ""}
"""What Google's processors put before and after a clip, by architecture (transformers/models/*/processing_*.py)."""
MAX_SECONDS = 5.0
"""Seconds of processor time that a template may take, as in gguf_chat. Chosen, because 10,000 turns take less than one."""
MAX_PROBING_SECONDS = 1.0
"""The same for a small conversation that a template is tried with. Chosen, because those of Gemmas take milliseconds."""
MAX_OWN_OUTPUT = 256 * 1024
"""Characters a template may write over eight times what it was given. Chosen, because a template's own text has some thousand."""


class Prompts:
    """Renders prompts. Nothing a person writes becomes a control token: only the template's own text does."""

    def __init__(self, checkpoint: Checkpoint, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._sound = int(checkpoint.settings.get("audio_token_id") or -1)
        self._template = self._with_sound(checkpoint)
        self.has_template = bool(self._template)
        self.takes_tools = "tools" in (self._template or "")
        self.can_think = "enable_thinking" in (self._template or "")
        self._takes_system = self._takes("system", "user")
        self._takes_late_system = self._takes("system", "system", "user", "assistant", "system", "user")
        self._takes_rows = self._takes("user", "user", "assistant", "assistant")

    def of_chat(
        self,
        messages: Sequence[Message],
        clips: Sequence[Clip] = (),
        *,
        tools: Sequence[Tool] = (),
        thinking: bool = False,
        begins: bool = True,
        continues: bool = False,
    ) -> list[int]:
        """Return the tokens of a conversation; `clips` are its recordings in order.

        They are ready for the answer where it `begins`, end in the midst of the last message where the answer `continues` it,
        and behind it where it does neither.

        Raises `BadInputError` for what the template cannot write, `UnsupportedError` where there is no template.
        """
        if not self._template:
            raise UnsupportedError("this model has no chat template, so it only continues a raw prompt", param="messages")
        if not messages:
            raise BadInputError("there are no messages; send at least one", param="messages")
        if continues and not any(isinstance(part, TextPart) for part in messages[-1].content or (TextPart(text=""),)):
            raise BadInputError("the last message has no text to continue; write its beginning", param="messages")
        try:
            turns, definitions = self._turns(messages), [_definition(tool) for tool in tools]
            self._check(turns, definitions)
            how = {"begins": begins, "continues": continues}
            tokens = self._render(turns, tools=definitions or None, thinking=thinking, **how)
        except OverBoundError as error:
            raise told_over_bound(error, turns, "its operator can take another checkpoint") from None
        except jinja2.TemplateError as error:
            raise BadInputError(f"this model's chat template refuses the conversation: {error}", param="messages") from None
        except (ValueError, TypeError, AttributeError, LookupError, RecursionError):
            message = "this model's chat template cannot write these messages and tools; make arguments and schemas simpler"
            raise BadInputError(message, param="messages") from None
        return self._expanded(tokens, clips)

    def _check(self, turns: Any, definitions: Any) -> None:
        """Raise `BadInputError` for what is too long, or has a control token in a key, which Transformers does not look at."""
        written = json.dumps([turns, definitions])
        if len(written) > MAX_TEXT:
            message = f"messages and tools are too long to cut into tokens: over {MAX_TEXT} bytes as JSON"
            raise BadInputError(message, code="context_length_exceeded", param="messages")
        for key in _keys([turns, definitions]):
            if self._vocabulary.names_control(key):
                raise BadInputError("a key of a tool or its arguments has the name of a control token in it", param="tools")

    def _render(
        self,
        turns: list[dict[str, Any]],
        *,
        tools: Any = None,
        thinking: bool = False,
        begins: bool = True,
        continues: bool = False,
        probing: bool = False,
    ) -> list[int]:
        """Return the tokens of turns. Raises `OverBoundError`, and what a template raises."""
        render: Any = self._vocabulary.tokenizer.apply_chat_template
        turns, tools = self._vocabulary.marked([turns, tools])
        try:
            text: str = within_processor_time(
                MAX_PROBING_SECONDS if probing else MAX_SECONDS,
                lambda: render(
                    turns,
                    tools=tools,
                    chat_template=self._template,
                    add_generation_prompt=begins and not continues,
                    continue_final_message=continues,
                    tokenize=False,
                    **({"enable_thinking": thinking} if self.can_think else {}),
                ),
            )
        except ProcessorTimeError:
            raise OverBoundError("takes too long") from None
        if len(text) > MAX_OWN_OUTPUT + 8 * characters([turns, tools]):
            raise OverBoundError("makes too much of this conversation")
        return self._vocabulary.chat(text)

    def _takes(self, *roles: str) -> bool:
        """Return whether the template renders turns of these roles, with all of their text."""
        texts = [f"{n}{n}{n}" for n in range(len(roles))]
        try:
            turns = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]
            tokens = self._render(turns, probing=True)
        except (OverBoundError, jinja2.TemplateError, ValueError, TypeError, AttributeError, LookupError):
            return False
        written = self._vocabulary.text(tokens)
        return all(text in written for text in texts)

    def _expanded(self, tokens: list[int], clips: Sequence[Clip]) -> list[int]:
        """Replace the token of each recording by as many as its encoder makes of it."""
        if tokens.count(self._sound) != len(clips):
            raise BadInputError("this model's chat template has no place for this recording; put it into a message of the user")
        waiting = iter(clips)
        expanded: list[int] = []
        for token in tokens:
            expanded += [token] * next(waiting).tokens if token == self._sound else [token]
        return expanded

    def _with_sound(self, checkpoint: Checkpoint) -> str | None:
        """Return the template with the marks around sound, which otherwise the processor adds to the rendered text.

        They are added before the text is cut into tokens, because line ends around them make one token with their neighbours.
        """
        tokenizer = self._vocabulary.tokenizer
        template = tokenizer.chat_template
        if not isinstance(template, str) or not checkpoint.hears:
            return template if isinstance(template, str) else None
        settings = checkpoint.settings
        names = tokenizer.convert_ids_to_tokens([settings["boa_token_id"], self._sound, _end_of_audio(settings)])
        gap = AROUND[checkpoint.kind]
        return _replaced(template, names[1], gap + "".join(names) + gap)

    def _turns(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        turns = [_turn(message) for message in messages]
        if not self._takes_late_system:
            turns = with_system_in_place(turns, first=self._takes_system)
        return turns if self._takes_rows else alternating(turns)


def _replaced(template: str, old: str, new: str) -> str:
    """Return a template that writes `new` for `old`, wherever that stands: in its text, or in a string of an expression."""
    escaped = new.replace("\n", "\\n")
    pieces = []
    for _, kind, piece in jinja2.Environment(keep_trailing_newline=True, autoescape=False).lex(template):  # noqa: S701  # no HTML
        # Line ends that stand in the text behind a tag would be trimmed, so it is an expression that writes them.
        pieces.append(piece.replace(old, escaped if kind == "string" else f"{{{{ '{escaped}' }}}}"))
    return "".join(pieces)


def _turn(message: Message) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": "system" if message.role == "developer" else message.role, "content": _content(message)}
    if message.tool_calls:
        turn["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": _arguments(call.arguments)}}
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        turn["tool_call_id"] = message.tool_call_id
    if message.name:
        turn["name"] = message.name
    if message.thoughts:
        turn["reasoning_content"] = message.thoughts
    return turn


def _content(message: Message) -> str | list[dict[str, str]]:
    """Return text as a string, which every template takes, and parts only where there is sound."""
    if not any(isinstance(part, AudioPart) for part in message.content):
        return message.text
    return side_by_side(
        {"type": "audio"} if isinstance(part, AudioPart) else {"type": "text", "text": part.text}
        for part in message.content
        if isinstance(part, AudioPart | TextPart)
    )


def _arguments(written: str) -> Any:
    try:
        return json.loads(written)
    except ValueError:
        return written


def _keys(value: Any) -> Iterator[str]:
    """Yield all keys in a JSON value."""
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _keys(one)


def _definition(tool: Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters or {"type": "object"}}
    return {"type": "function", "function": function}


def _end_of_audio(settings: dict[str, Any]) -> int:
    """Return the token behind sound, which Gemma 4's configuration names differently."""
    return int(settings["eoa_token_id"] if "eoa_token_id" in settings else settings["eoa_token_index"])
