"""Texts to the token ids a model reads."""

import threading
from collections.abc import Sequence
from typing import Any

from modelhost import NotReadyError

PROBE = "sea"


class Tokens:
    """A model's tokenizer without its habits: nothing is cut or padded in here. Used from many threads at once."""

    def __init__(self, tokenizer: Any) -> None:
        """Find out what stands around every text; raises `NotReadyError` where texts are not told apart from that."""
        self._tokenizer = tokenizer
        self._one_by_one = None if tokenizer.is_fast else threading.Lock()
        plain, whole = self.plain([PROBE])[0], self._ids([PROBE], special=True)[0]
        at = next((at for at in range(len(whole)) if whole[at : at + len(plain)] == plain), None)
        if at is None or not plain:
            raise NotReadyError(
                "this model's tokenizer changes a text between its special tokens; it cannot be used", retry=False
            )
        self.before: list[int] = whole[:at]
        """What the model wants before every text."""
        self.after: list[int] = whole[at + len(plain) :]
        """And after it."""

    @property
    def around(self) -> int:
        """Return how many tokens stand around a text."""
        return len(self.before) + len(self.after)

    def plain(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of texts, however long, without what stands around them."""
        return self._ids(texts, special=False)

    def _ids(self, texts: Sequence[str], *, special: bool) -> list[list[int]]:
        # With the same settings in every call a fast tokenizer is only read, so calls may overlap; they leave Python meanwhile.
        if self._one_by_one:
            with self._one_by_one:
                return self._encode(texts, special)
        return self._encode(texts, special)

    def _encode(self, texts: Sequence[str], special: bool) -> list[list[int]]:
        encoded = self._tokenizer(
            list(texts),
            add_special_tokens=special,
            padding=False,
            truncation=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        found: list[list[int]] = encoded["input_ids"]
        return found
