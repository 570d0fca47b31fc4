"""Which accelerators this machine has, as far as can be told without a runtime: for checks before anything is loaded."""

import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

from modelhost.contract.errors import BadInputError

DEVICE_FILES = ("nvidia[0-9]*", "dxg", "kfd")
"""What drivers put into /dev: NVIDIA's, Windows' for its Linux subsystem, AMD's, whose GPUs torch calls `cuda` as well."""


@lru_cache(maxsize=1)
def nvidia_gpus() -> tuple[tuple[str, str], ...]:
    """Return number and id of each of NVIDIA's GPUs here; empty without its driver's tool."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    listing = subprocess.run([tool, "--query-gpu=index,uuid", "--format=csv,noheader"], capture_output=True, check=False)
    lines = [line.split(",") for line in listing.stdout.decode().splitlines()]
    return tuple((number.strip(), uuid.strip()) for number, uuid in (line for line in lines if len(line) == 2))


def device_files() -> tuple[str, ...]:
    """Return the names of the accelerators' files in /dev."""
    return tuple(sorted(file.name for pattern in DEVICE_FILES for file in Path("/dev").glob(pattern)))


def has_gpu() -> bool:
    """Return whether there may be a GPU that computes."""
    return bool(device_files() or nvidia_gpus())


def device_problem(device: str, kinds: tuple[str, ...] = ("cpu", "cuda", "mps")) -> str | None:
    """Return why a backend that runs on these `kinds` cannot use a device; None where it can, or only its runtime knows."""
    kind, colon, number = device.partition(":")
    if device == "auto":
        return None
    if kind not in kinds or (colon and (kind != "cuda" or not number.isdecimal())):
        known = ", ".join(f"`{name}`" for name in ("auto", *kinds, *(["cuda:N"] if "cuda" in kinds else [])))
        return f"device: there is no device {device!r}; write {known}"
    if kind == "cuda" and not has_gpu():
        return f"device: there is no GPU for {device!r} here; write `auto` or `cpu`"
    if kind == "cuda" and (gpus := nvidia_gpus()) and int(number or 0) >= len(gpus):
        return f"device: there is no {device!r} here, but {len(gpus)} GPUs, counted from 0"
    if kind == "mps" and sys.platform != "darwin":
        return "device: only a Mac has `mps`; write `auto` or `cpu`"
    return None


def torch_device(requested: str, *, gpus: int, mps: bool) -> str:
    """Return PyTorch's name of a device, with its number; `gpus` and `mps` are what it sees, which only a loading backend asks.

    Raises `BadInputError` for a device that is not here.
    """
    if requested == "auto":
        return "cuda:0" if gpus else "mps" if mps else "cpu"
    kind, _, number = requested.partition(":")
    if requested == "cpu" or (requested == "mps" and mps):
        return requested
    if requested == "mps":
        raise BadInputError("options.device: there is no `mps` here, only a Mac has it; use `auto` or `cpu`")
    if kind == "cuda" and (not number or number.isdecimal()):
        if int(number or 0) < gpus:
            return f"cuda:{int(number or 0)}"
        raise BadInputError(f"options.device: there is no {requested!r} here, but {gpus} CUDA GPUs; use `auto` or `cpu`")
    raise BadInputError(f"options.device: torch runs on `cpu`, `cuda`, `cuda:N` and `mps`, not on {requested!r}")
