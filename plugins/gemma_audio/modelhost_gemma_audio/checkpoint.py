"""A checkpoint's folder, looked at before anything of it is loaded."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelhost import BadInputError, NotReadyError

HEARING = ("gemma3n", "gemma4", "gemma4_unified")
"""Architectures with an audio encoder, by the `model_type` of their config.json."""
READING = ("gemma", "gemma2", "gemma3", "gemma3_text", "gemma3n_text", "gemma4_text", "gemma4_unified_text")
"""Those that read text only, or only text here."""

TOKENIZERS = ("tokenizer.json", "tokenizer.model")
"""One of them must be there: without it Transformers makes an empty tokenizer, and says nothing."""

KEPT = ("embed", "lm_head", "audio_tower", "norm")
"""In the names of weights that quantising leaves as they are: embedding tables, the audio encoder, the last layer."""
MOST_HEADER = 100_000_000
"""Bytes: the limit of https://github.com/huggingface/safetensors itself."""


@dataclass(frozen=True)
class Numbers:
    """How many numbers a checkpoint has, without the vision encoder, which is not loaded."""

    packed: int = 0
    """In layers that quantising packs."""
    kept: int = 0


@dataclass(frozen=True)
class Checkpoint:
    """What a folder holds."""

    folder: Path
    kind: str
    """The architecture, one of `HEARING` or `READING`."""
    settings: dict[str, Any]
    """Its config.json."""
    size: int
    """Bytes of the weights' files."""
    numbers: Numbers
    is_16_bit: bool
    """Whether most of them are stored in 16 bits."""

    def bytes_as(self, each: int, packed: int | None = None) -> int:
        """Return the bytes its numbers take at `each` a number, and those that quantising packs at `packed`."""
        return self.numbers.packed * (each if packed is None else packed) + self.numbers.kept * each

    @property
    def hears(self) -> bool:
        """Return whether it has an audio encoder; a fine-tune may have lost it."""
        return self.kind in HEARING and bool(self.settings.get("audio_config"))


def look(folder: Path) -> Checkpoint:
    """Check a folder. Raises `BadInputError` for what is no Gemma, `NotReadyError` where files are missing or code would run."""
    if not folder.is_dir():
        raise BadInputError(f"{folder.name} is not a folder: name the whole checkpoint, not one of its files", param="source")
    settings = _json(folder / "config.json")
    kind = str(settings.get("model_type", ""))
    if "auto_map" in settings:
        raise NotReadyError(
            f"{folder.name} brings code of its own (config.json has an auto_map), and code of models is never run here; "
            "use a checkpoint whose architecture Transformers has",
            retry=False,
        )
    if kind not in (*HEARING, *READING):
        raise BadInputError(
            f"{folder.name} is a {kind or 'nameless'!s} model, and this plugin runs {', '.join((*HEARING, *READING))}; "
            "use one of those, or another plugin",
            param="source",
        )
    weights = list(folder.glob("*.safetensors"))
    if not weights:
        raise NotReadyError(
            f"{folder.name} has no *.safetensors: only these are loaded, as pickled weights can run code; convert them",
            retry=False,
        )
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise NotReadyError(f"{folder.name} has no {' and no '.join(TOKENIZERS)}; fetch the whole repository", retry=False)
    numbers, is_16_bit = _count(weights)
    return Checkpoint(folder, kind, settings, sum(file.stat().st_size for file in weights), numbers, is_16_bit)


def _count(files: list[Path]) -> tuple[Numbers, bool]:
    """Read the headers of weights' files: how many numbers there are, and whether most take 16 bits."""
    packed = kept = short = 0
    for file in files:
        try:
            with file.open("rb") as opened:
                size = int.from_bytes(opened.read(8), "little")
                if size > MOST_HEADER:
                    raise ValueError
                header = json.loads(opened.read(size))
        except ValueError:
            message = f"{file.parent.name}/{file.name} is damaged; fetch the model again"
            raise NotReadyError(message, retry=False) from None
        for name, about in header.items():
            if name == "__metadata__" or "vision_tower" in name:
                continue
            count = math.prod(about["shape"])
            short += count * (about["dtype"] in ("BF16", "F16"))
            if len(about["shape"]) == 2 and not any(part in name for part in KEPT):
                packed += count
            else:
                kept += count
    return Numbers(packed, kept), 2 * short > packed + kept


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_bytes())
    except FileNotFoundError:
        message = (
            f"{file.parent.name} has no {file.name}: it is no checkpoint as Transformers saves it; fetch the whole repository"
        )
        raise NotReadyError(message, retry=False) from None
    except ValueError:
        raise NotReadyError(f"{file.parent.name}/{file.name} is not JSON; fetch the model again", retry=False) from None
    return found if isinstance(found, dict) else {}
