"""A model's tokens: to and from text, and which of them are control tokens."""

import re
import threading
from collections.abc import Sequence
from typing import Any

from modelhost import BadInputError
from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import encode_marked_chat, mark_control_tokens

from modelhost_gemma_audio.checkpoint import Checkpoint

MAX_TEXT = 1024 * 1024
"""Bytes of a text to cut into tokens; chosen, because tokenizing more takes seconds and cannot be stopped."""

HALF = "\N{REPLACEMENT CHARACTER}"
LONGEST_CHARACTER = 4
"""Tokens: a character without a token of its own is written in bytes, each a token; UTF-8 has four at most (RFC 3629 §3)."""

MEDIA = ("audio_token_id", "image_token_id", "video_token_id")

ENDS = ("<end_of_turn>", "<turn|>", "<|tool_response>")
"""Names of tokens after which the model waits for somebody else."""


_MARK = re.compile(r"<[^<>\s]+>")
"""What Gemma's control tokens look like. Others may be words that a fine-tune has added, and stand in a template by chance."""


class Vocabulary:
    """Wraps a tokenizer; to be used from many threads at once."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, checkpoint: Checkpoint, generation_config: Any) -> None:
        """Take the tokens; `generation_config` is what the checkpoint says of generating, the ends of an answer among it."""
        self.tokenizer = tokenizer
        self.lock = threading.Lock()
        """Around the tokenizer: whether it takes names of control tokens for text is a switch that all threads share."""
        self.size = len(tokenizer)
        self.media = frozenset(token for name in MEDIA if (token := checkpoint.settings.get(name)) is not None)
        """Tokens that stand for sound or pictures."""
        known = tokenizer.get_vocab()
        ends = generation_config.eos_token_id
        configured = ends if isinstance(ends, list) else [] if ends is None else [ends]
        self.ends = frozenset([*configured, *(known[name] for name in ENDS if name in known)])
        """Tokens that end an answer."""
        template = str(tokenizer.chat_template or "")
        self._control = {
            token: added.content
            for token, added in tokenizer.added_tokens_decoder.items()
            if added.special or (_MARK.fullmatch(added.content) and added.content in template)
        }
        self._marked = _any_of(_taken_for_text(tokenizer, template))

    def ids(self, text: str, *, control: bool = False, param: str = "prompt") -> list[int]:
        """Cut a text into tokens; names of control tokens in it are letters unless `control`."""
        if (size := len(text.encode("utf-8", "replace"))) > MAX_TEXT:
            message = f"{param}: {size} bytes are too many to cut into tokens, {MAX_TEXT} are allowed"
            raise BadInputError(message, code="context_length_exceeded", param=param)
        with self.lock:
            found: list[int] = self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=not control)
        return found

    def marked(self, value: Any) -> Any:
        """Return a JSON value with marks around names of control tokens in its texts, which tell `chat` that they are letters."""
        return mark_control_tokens(value, self._marked)

    def chat(self, text: str) -> list[int]:
        """Cut what a chat template has written out of `marked` values."""
        with self.lock:
            found: list[int] = encode_marked_chat(self.tokenizer, text)
        return found

    def existing(self, tokens: Sequence[int], param: str) -> list[int]:
        """Check a caller's tokens. Raises `BadInputError` for one that does not exist."""
        for token in tokens:
            if not 0 <= token < self.size:
                raise BadInputError(f"{param}: this model's tokens are 0 to {self.size - 1}", param=param)
        return list(tokens)

    def text(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens: control tokens by name, bytes that are no character as U+FFFD."""
        with self.lock:
            return str(self.tokenizer.decode(list(tokens), skip_special_tokens=False))

    def prompt(self, text: str) -> list[int]:
        """Return the tokens of a raw prompt."""
        return [*self.begin(), *self.ids(text)]

    def begin(self) -> list[int]:
        """Return what a prompt begins with."""
        first = self.tokenizer.bos_token_id
        return [first] if isinstance(first, int) else []

    def names_control(self, text: str) -> bool:
        """Return whether the name of a control token, or one of Transformers' marks for those, is somewhere in a text."""
        return any(name in text for name in self._control.values()) or any("\ue000" <= letter <= "\uf8ff" for letter in text)

    def named_in(self, text: str) -> tuple[str, ...]:
        """Return the control tokens whose names are in a text."""
        return tuple(name for name in self._control.values() if name in text)

    def words(self, marks: Sequence[str] = ()) -> "Words":
        """Return a decoder for an answer. It drops control tokens, but for those named in `marks`."""
        return Words(self.tokenizer, frozenset(token for token, name in self._control.items() if name not in marks))


def _taken_for_text(tokenizer: Any, template: str) -> list[str]:
    """Return the tokens whose names are letters where a person writes them, by the rule of `apply_chat_template`."""
    listed = tokenizer.chat_control_tokens
    return [
        added.content
        for added in tokenizer.added_tokens_decoder.values()
        if added.special
        or (added.content in template and not added.content.isspace() if listed is None else added.content in listed)
    ]


def _any_of(names: list[str]) -> re.Pattern[str]:
    longest_first = sorted(names, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")


class Words:
    """Text out of tokens as they come, in whole characters."""

    def __init__(self, tokenizer: Any, left_out: frozenset[int]) -> None:
        self._tokenizer = tokenizer.backend_tokenizer
        self._left_out = left_out
        self._held: list[int] = []

    def feed(self, token: int) -> str:
        """Add a token; returns the text that is certain by now."""
        if token in self._left_out:
            return ""
        self._held.append(token)
        text = self._decoded()
        if text.endswith(HALF) and len(self._held) < LONGEST_CHARACTER:
            return ""
        self._held.clear()
        return text

    def finish(self) -> str:
        """Return what is left when no more tokens come: half a character, as U+FFFD."""
        text = self._decoded()
        self._held.clear()
        return text

    def _decoded(self) -> str:
        return str(self._tokenizer.decode(self._held, skip_special_tokens=False))
