"""Text to token ids and back."""

import codecs
import ctypes
import re
from collections.abc import Iterable, Sequence
from typing import Any

import llama_cpp

from modelhost_gguf_chat.origins import Piece

NO_TOKEN = -1
"""What llama.cpp returns for a token that a model does not have: `LLAMA_TOKEN_NULL` of include/llama.h."""
WHITESPACE = " \t\n\v\f\r"


class Vocabulary:
    """A model's tokens.

    Safe to use from any thread, beside a decode too, while the model lives: llama.cpp only reads a vocabulary after loading
    it. `Engine.in_use` keeps the model alive.
    """

    def __init__(self, model: Any) -> None:
        self.pointer = llama_cpp.llama_model_get_vocab(model)
        self.size: int = llama_cpp.llama_vocab_n_tokens(self.pointer)
        self.bos: int = llama_cpp.llama_vocab_bos(self.pointer)
        self.eos: int = llama_cpp.llama_vocab_eos(self.pointer)
        self._adds_bos: bool = llama_cpp.llama_vocab_get_add_bos(self.pointer)
        self._buffer_size = 64
        self._control: dict[str, int] = {}
        self._strips_left: set[int] = set()
        self._strips_right: set[int] = set()
        self._read_control_tokens()
        longest_first = sorted(self._control, key=len, reverse=True)
        self._control_pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self._ends: tuple[int, ...] | None = None
        self._pieces: dict[int, bytes] = {}
        """Of tokens that have been said: asking llama.cpp again for each would cost more than choosing it."""
        self._adds_space = b"".join(map(self.piece, self.tokenize("a"))).startswith(b" ")
        fim = (llama_cpp.llama_vocab_fim_pre, llama_cpp.llama_vocab_fim_suf, llama_cpp.llama_vocab_fim_mid)
        found = tuple(token(self.pointer) for token in fim)
        self.gap: tuple[int, ...] | None = None if NO_TOKEN in found else found
        """What stands before the text before a gap, before the text after it, and before what fills it; None: it fills none."""

    @property
    def control_tokens(self) -> frozenset[int]:
        """Return ids that steer the model and never stand for text."""
        return frozenset(self._control.values())

    @property
    def end_tokens(self) -> tuple[int, ...]:
        """Return ids that end an answer."""
        if self._ends is None:
            self._ends = tuple(token for token in range(self.size) if self.ends(token))
        return self._ends

    def tokenize(self, text: str, *, parse_special: bool = False, add_special: bool = False) -> list[int]:
        """Split text into tokens; `parse_special` lets control tokens be spelled out in it.

        `add_special` puts around it what the model was trained to see around texts, such as BOS and EOS, or CLS and SEP.
        """
        data = text.encode("utf-8", "replace")
        if not data and not add_special:
            return []
        size = len(data) + 8
        while True:
            tokens = (llama_cpp.llama_token * size)()
            count = llama_cpp.llama_tokenize(self.pointer, data, len(data), tokens, size, add_special, parse_special)
            if count >= 0:
                return tokens[:count]
            size = -count

    def tokenize_pieces(self, pieces: Iterable[Piece]) -> list[int]:
        """Split a prompt into tokens: control tokens come from trusted pieces alone.

        Gives the ids that llama.cpp gives for the joined text, except where untrusted text spells a control token
        out, wholly or together with its neighbours. llama.cpp too cuts at control tokens first and splits what is
        between as one.
        """
        tokens: list[int] = []
        between: list[str] = []

        def control(token: int) -> None:
            text(before=token)
            tokens.append(token)

        def text(before: int = NO_TOKEN) -> None:
            joined = "".join(between)
            between.clear()
            if tokens and tokens[-1] in self._strips_right:
                joined = joined.lstrip(WHITESPACE)
            if before in self._strips_left:
                joined = joined.rstrip(WHITESPACE)
            tokens.extend(self.tokenize(joined))

        for piece in pieces:
            at = 0
            if piece.trusted:
                for found in self._control_pattern.finditer(piece.text):
                    between.append(piece.text[at : found.start()])
                    control(self._control[found.group()])
                    at = found.end()
            between.append(piece.text[at:])
        text()
        return tokens

    def with_bos(self, tokens: Sequence[int]) -> list[int]:
        """Put the token in front that a text begins with, where this model wants one and it is not there."""
        if self._adds_bos and self.bos != NO_TOKEN and (not tokens or tokens[0] != self.bos):
            return [self.bos, *tokens]
        return list(tokens)

    def around_gap(self, before: Sequence[int], after: Sequence[int]) -> list[int]:
        """Return the prompt for what is missing between two texts: prefix, suffix, middle; only where there are `gap` tokens."""
        assert self.gap is not None
        prefix, suffix, middle = self.gap
        return self.with_bos([prefix, *before, suffix, *after, middle])

    def ends(self, token: int) -> bool:
        """Return whether a token ends an answer."""
        ends: bool = llama_cpp.llama_vocab_is_eog(self.pointer, token)
        return ends

    def said(self, token: int) -> bytes:
        """Return a token's bytes as `piece` does, remembered."""
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._pieces[token] = self.piece(token)
        return piece

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """Return a token's bytes, which need not be whole characters; a control token's name only when `special`."""
        size = self._buffer_size  # another thread may enlarge it meanwhile
        buffer = ctypes.create_string_buffer(size)
        count = llama_cpp.llama_token_to_piece(self.pointer, token, buffer, size, 0, special)
        if count < 0:
            self._buffer_size = -count
            return self.piece(token, special=special)
        return buffer.raw[:count]

    def text(self, tokens: Iterable[int]) -> str:
        """Return what the tokens say, without control tokens; see `joined`."""
        return self.joined(map(self.piece, tokens))

    def joined(self, pieces: Iterable[bytes]) -> str:
        """Return the text of tokens' bytes, without the space some models put before every text; no characters become U+FFFD."""
        data = b"".join(pieces)
        return (data.removeprefix(b" ") if self._adds_space else data).decode("utf-8", "replace")

    def name(self, token: int) -> str:
        """Return how a token is spelled in a template; empty for none."""
        return (
            "" if token == NO_TOKEN else (llama_cpp.llama_vocab_get_text(self.pointer, token) or b"").decode("utf-8", "replace")
        )

    def _read_control_tokens(self) -> None:
        meant = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_UNKNOWN
        attributes = llama_cpp.llama_vocab_get_attr
        for token in range(self.size):
            attribute = attributes(self.pointer, token)
            if not attribute & meant or not (name := self.name(token)):
                continue
            self._control[name] = token
            if attribute & llama_cpp.LLAMA_TOKEN_ATTR_LSTRIP:
                self._strips_left.add(token)
            if attribute & llama_cpp.LLAMA_TOKEN_ATTR_RSTRIP:
                self._strips_right.add(token)


class Utf8Decoder:
    """Bytes to text, in pieces: holds an unfinished character back, and replaces what can be none with U+FFFD.

    What is still unfinished when no more bytes come was cut off, and is nothing that anybody said.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, data: bytes) -> str:
        """Add bytes; returns the characters they complete."""
        return self._decoder.decode(data)
