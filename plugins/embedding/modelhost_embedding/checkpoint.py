"""A model's folder, looked at before anything of it is loaded."""

import json
from pathlib import Path
from typing import Any

from modelhost import BadInputError, NotReadyError

OWN = "sentence_transformers."
WEIGHTS = (".safetensors", ".bin")


def check(folder: Path) -> int:
    """Return the size of a model's weights in bytes.

    Raises `BadInputError` for what is no folder, `NotReadyError` where files are missing, and where the model brings code of
    its own: that is never run.
    """
    if not folder.is_dir():
        raise BadInputError(f"{folder.name} is not a folder: name the whole model, not one of its files", param="source")
    if not any((folder / name).is_file() for name in ("modules.json", "config.json")):
        raise NotReadyError(
            f"{folder.name} has no modules.json and no config.json: it is not a model as sentence-transformers saves it; "
            "use one such as hf:sentence-transformers/all-MiniLM-L6-v2",
            retry=False,
        )
    for module in _json(folder / "modules.json", default=[]):
        if not str(module.get("type", "")).startswith(OWN):
            raise _foreign(folder, "modules.json names a class of its own")
    for file in folder.rglob("*config.json"):
        found = _json(file, default={})
        if isinstance(found, dict) and "auto_map" in found:
            raise _foreign(folder, f"{file.name} has an auto_map")
    return sum(file.stat().st_size for file in folder.rglob("*") if file.suffix in WEIGHTS)


def _foreign(folder: Path, why: str) -> NotReadyError:
    return NotReadyError(
        f"{folder.name} brings code of its own ({why}), and code of models is never run here; "
        "use a model whose architecture transformers has",
        retry=False,
    )


def _json(file: Path, default: Any) -> Any:
    if not file.is_file():
        return default
    try:
        return json.loads(file.read_bytes())
    except ValueError:
        raise NotReadyError(f"{file.parent.name}/{file.name} is not JSON; fetch the model again", retry=False) from None
