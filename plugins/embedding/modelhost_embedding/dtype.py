"""With which numbers a model computes."""

import torch
from modelhost import BadInputError

from modelhost_embedding.options import Dtype


def find_dtype(requested: Dtype, *, device: str, stored: torch.dtype, float16: bool) -> torch.dtype:
    """Return the numbers to compute with; `float16` says whether this model can use those.

    Raises `BadInputError` where it cannot and is told to.
    """
    if requested == "float16" and not float16:
        raise BadInputError("options.dtype: this family gives no usable numbers in float16; use `bfloat16` or `float32`")
    if requested != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[requested]
    return torch.bfloat16 if device.startswith("cuda") and stored.itemsize == 2 else torch.float32
