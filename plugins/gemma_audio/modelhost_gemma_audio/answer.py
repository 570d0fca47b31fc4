"""An answer as it grows out of tokens: words, thoughts and tool calls."""

import json
import secrets
from typing import Any

from modelhost import Delta, StopStrings, ToolDelta
from transformers.utils.chat_parsing import ResponseParser

from modelhost_gemma_audio.vocabulary import Words

GEMMA4: dict[str, Any] = {
    "defaults": {"role": "assistant"},
    "start_anchor": ["<|turn>model\n", "<tool_response|>"],
    "fields": {
        "reasoning_content": {"open": "<|channel>thought\n", "close": "<channel|>", "content": "text"},
        "tool_calls": {
            "open_pattern": r"<\|tool_call>call:(?P<name>[\w.-]{1,64})",
            "close": "<tool_call|>",
            "repeats": True,
            "content": "json",
            "content_args": {"unquoted_keys": True, "string_delims": [['<|"|>', '<|"|>']]},
            "transform": {"type": "function", "function": {"name": "{name}", "arguments": "{content}"}},
        },
        "content": {"close": ["<turn|>", "<|tool_response>", "<eos>"], "content": "text"},
    },
}
"""How Gemma 4 writes, for Transformers' parser, where the tokenizer has no `response_template` of its own."""

Piece = Delta | ToolDelta


class Answer:
    """Turns tokens into deltas: whole characters only, nothing of a stop string, and never an empty delta."""

    def __init__(
        self, words: Words, stops: tuple[str, ...], layout: dict[str, Any] | None = None, marks: tuple[str, ...] = ()
    ) -> None:
        """Begin; `layout` says how reasoning and calls are told apart, by `marks`, which `words` must return by name."""
        self._words = words
        self._marks = marks
        self._stops = StopStrings(stops)
        self._parser = ResponseParser(layout, prefix="") if layout else None
        self._raw = ""
        self._in = ""
        self.calls = 0
        self.thought = 0
        """Tokens of reasoning."""

    @property
    def stopped(self) -> bool:
        """Return whether a stop string has ended the answer."""
        return self._stops.stopped

    def feed(self, token: int) -> list[Piece]:
        """Add a token; returns what is certain by now."""
        self.thought += self._in == "reasoning_content"
        return self._read(self._words.feed(token))

    def finish(self) -> list[Piece]:
        """Return what was held back, when no more tokens come."""
        if self.stopped:
            return []
        pieces = self._read(self._words.finish())
        if self._parser:
            try:
                pieces += self._pieces_of(self._parser.finalize()[1])
            except (ValueError, RecursionError):
                pieces += self._unreadable()
        return pieces + _delta(self._stops.flush())

    def _read(self, text: str) -> list[Piece]:
        if not text:
            return []
        if not self._parser:
            return _delta(self._stops.feed(text))
        try:
            return self._pieces_of(self._parser.feed(text))
        except (ValueError, RecursionError):
            return self._unreadable()

    def _pieces_of(self, events: list[dict[str, Any]]) -> list[Piece]:
        pieces: list[Piece] = []
        for event in events:
            match event["type"], event["field"]:
                case "region_open", field:
                    self._in, self._raw = field, ""
                case "region_chunk", "content":
                    pieces += _delta(self._stops.feed(self._bare(event["text"])))
                case "region_chunk", "reasoning_content":
                    if thought := self._bare(event["text"]):
                        pieces.append(Delta(reasoning=thought))
                case "region_chunk", _:
                    self._raw += event["text"]
                case "region_close", "tool_calls":
                    self._in = ""
                    pieces.append(self._call(event["value"]["function"]))
                case "region_close", _:
                    self._in = ""
        return pieces

    def _bare(self, text: str) -> str:
        """Return a text without delimiters that stand where they delimit nothing."""
        for mark in self._marks:
            text = text.replace(mark, "")
        return text

    def _call(self, function: dict[str, Any]) -> ToolDelta:
        arguments = function["arguments"]
        self.calls += 1
        return ToolDelta(
            call=self.calls - 1,
            id=f"call_{secrets.token_hex(12)}",
            name=function["name"],
            arguments=arguments if isinstance(arguments, str) else _json(arguments),
        )

    def _unreadable(self) -> list[Piece]:
        """Return a malformed call as plain text, and read the rest as text too."""
        self._parser = None
        return _delta(self._stops.feed(self._bare(self._raw)))


def marks_of(layout: dict[str, Any]) -> str:
    """Return all delimiters of a layout in one text; patterns without their backslashes."""
    delimiters = ("open", "close", "open_pattern", "close_pattern", "content_args")
    return str([field[name] for field in layout["fields"].values() for name in delimiters if name in field]).replace("\\", "")


def _json(value: Any) -> str:
    """Return JSON, with letters unescaped unless some are lone surrogates. Raises ValueError for numbers JSON does not have."""
    written = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return written if _encodes(written) else json.dumps(value)


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _delta(text: str) -> list[Piece]:
    return [Delta(text=text)] if text else []
