"""Where a model computes, and with which numbers."""

import torch
from modelhost import BadInputError

from modelhost_embedding.options import Dtype


def find_device(requested: str, *, force_cpu: bool) -> str:
    """Return torch's name of a device. Raises `BadInputError` for one that is not here."""
    if force_cpu or requested == "cpu":
        return "cpu"
    gpus, mps = torch.cuda.device_count(), torch.backends.mps.is_available()
    if requested == "auto":
        return "cuda" if gpus else "mps" if mps else "cpu"
    kind, _, number = requested.partition(":")
    if kind == "cuda" and (not number or number.isdecimal()):
        if int(number or 0) < gpus:
            return requested
        raise BadInputError(f"options.device: there is no {requested!r} here, but {gpus} CUDA GPUs; use `auto` or `cpu`")
    if requested == "mps":
        if mps:
            return requested
        raise BadInputError("options.device: there is no `mps` here, only a Mac has it; use `auto` or `cpu`")
    raise BadInputError(f"options.device: torch runs on `cpu`, `cuda`, `cuda:N` and `mps`, not on {requested!r}")


def find_dtype(requested: Dtype, *, device: str, stored: torch.dtype, float16: bool) -> torch.dtype:
    """Return the numbers to compute with; `float16` says whether this model can use those.

    Raises `BadInputError` where it cannot and is told to.
    """
    if requested == "float16" and not float16:
        raise BadInputError("options.dtype: this family gives no usable numbers in float16; use `bfloat16` or `float32`")
    if requested != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[requested]
    return torch.bfloat16 if device.startswith("cuda") and stored.itemsize == 2 else torch.float32
