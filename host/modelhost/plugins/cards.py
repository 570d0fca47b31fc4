"""The last card of every model, so that what it can do is known before it is loaded."""

import contextlib
import os
from pathlib import Path

import msgspec
from platformdirs import user_cache_path

from modelhost.contract.card import ModelCard


def _card_file(key: str) -> Path:
    return user_cache_path("modelhost") / "cards" / f"{key}.json"


def kept_card(key: str) -> ModelCard | None:
    """Return the card a model had when it was last loaded."""
    try:
        return msgspec.json.decode(_card_file(key).read_bytes(), type=ModelCard)
    except (OSError, msgspec.MsgspecError):
        return None


def keep_card(key: str, card: ModelCard) -> None:
    """Remember a card for the next start, so that a model is known before it is loaded."""
    file = _card_file(key)
    with contextlib.suppress(OSError):  # a cache that cannot be written to costs knowledge, not service
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(f".{os.getpid()}")
        unfinished.write_bytes(msgspec.json.encode(card))
        unfinished.replace(file)
