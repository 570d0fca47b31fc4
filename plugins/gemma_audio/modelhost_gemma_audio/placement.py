"""Where a model computes, with which numbers, and whether it fits there."""

import importlib.util
import os
from dataclasses import dataclass
from typing import Any

import torch
from modelhost import BadInputError, NotReadyError

from modelhost_gemma_audio.checkpoint import Checkpoint
from modelhost_gemma_audio.options import GemmaAudioOptions

GB = 10**9
ROOM = 1.2
"""Times its weights a model needs of a GPU, for caches and what is computed: a rule of thumb."""
WHOLE = [rf"(?:.*\.)?{name}" for name in ("lm_head", "audio_tower", "embed_audio", "embed_vision", "vision_tower")]
"""Parts that stay as they are when weights are quantised, as patterns of their names: ears lose more by it than they save."""


@dataclass(frozen=True)
class Placement:
    """Decided: what Transformers is to load a model with."""

    device: str
    """torch's name of it."""
    dtype: torch.dtype
    quantization: str
    """`none`, `int8` or `int4`."""
    bytes: int
    """That the weights will take."""

    @property
    def kind(self) -> str:
        """The device without its number."""
        return self.device.partition(":")[0]


def place(checkpoint: Checkpoint, options: GemmaAudioOptions) -> Placement:
    """Decide. Raises `BadInputError` for a device that is not here, `NotReadyError` for a model that does not fit."""
    device = find_device(options.device)
    stored = _stored_bytes(checkpoint)
    dtype = _dtype(options, device, stored)
    size = round(checkpoint.size * dtype.itemsize / stored)
    quantization = _quantization(options, device, size)
    size = size // {"none": 1, "int8": dtype.itemsize, "int4": 2 * dtype.itemsize}[quantization]
    if device == "cpu":
        _check_main_memory(size, options)
    return Placement(device, dtype, quantization, size)


def find_device(wanted: str) -> str:
    """Give torch's name of a device. Raises `BadInputError` for one that is not here."""
    gpus, mps = torch.cuda.device_count(), torch.backends.mps.is_available()
    if wanted == "auto":
        return "cuda:0" if gpus else "mps" if mps else "cpu"
    kind, _, number = wanted.partition(":")
    if wanted == "cpu" or (wanted == "mps" and mps):
        return wanted
    if wanted == "mps":
        raise BadInputError("options.device: there is no `mps` here, only a Mac has it; use `auto` or `cpu`")
    if kind == "cuda" and (not number or number.isdecimal()):
        if int(number or 0) < gpus:
            return f"cuda:{int(number or 0)}"
        raise BadInputError(f"options.device: there is no {wanted!r} here, but {gpus} CUDA GPUs; use `auto` or `cpu`")
    raise BadInputError(f"options.device: torch runs on `cpu`, `cuda`, `cuda:N` and `mps`, not on {wanted!r}")


def load_arguments(placement: Placement, options: GemmaAudioOptions) -> dict[str, Any]:
    """Give what `from_pretrained` is to be told of device, numbers and memory."""
    arguments: dict[str, Any] = {"dtype": placement.dtype, "device_map": {"": placement.device}}
    if options.max_memory_gb and placement.kind == "cuda":
        number = int(placement.device.partition(":")[2])
        arguments |= {"device_map": "auto", "max_memory": {number: round(options.max_memory_gb * GB), "cpu": _main_memory()}}
    if placement.quantization != "none":
        arguments["quantization_config"] = _quantizer(placement)
    return arguments


def _dtype(options: GemmaAudioOptions, device: str, stored: int) -> torch.dtype:
    if options.dtype != "auto":
        return torch.float32 if options.dtype == "float32" else torch.bfloat16
    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    if device == "mps":
        return torch.bfloat16 if torch.backends.mps.is_macos_or_newer(14, 0) else torch.float32
    return torch.bfloat16 if options.low_memory and stored == 2 else torch.float32


def _stored_bytes(checkpoint: Checkpoint) -> int:
    """Give the bytes of a number in the files: Gemma's are in bfloat16."""
    name = checkpoint.settings.get("dtype") or checkpoint.settings.get("torch_dtype") or "bfloat16"
    return 4 if name == "float32" else 2


def _quantization(options: GemmaAudioOptions, device: str, size: int) -> str:
    if options.quantization == "auto":
        fits = not device.startswith("cuda") or size * ROOM <= _free(device)
        return "none" if fits or options.max_memory_gb else "int8"
    if options.quantization != "none" and device == "mps":
        raise BadInputError("options.quantization: there is nothing for `mps`; use `none`, or a smaller model")
    if options.quantization == "int4" and device == "cpu":
        # torchao 0.18 has no packed form of 4 bits for a CPU: it would be int8 that remembers less
        raise BadInputError("options.quantization: `int4` needs a CUDA GPU; use `int8` on a CPU")
    return options.quantization


def _quantizer(placement: Placement) -> Any:
    bits = placement.quantization
    if placement.kind == "cuda":
        _need("bitsandbytes", bits)
        from transformers import BitsAndBytesConfig

        if bits == "int8":
            return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=WHOLE)
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=placement.dtype,
            llm_int8_skip_modules=WHOLE,
        )
    _need("torchao", bits)
    from torchao.quantization import Int8WeightOnlyConfig
    from transformers import TorchAoConfig

    return TorchAoConfig(Int8WeightOnlyConfig(), modules_to_not_convert=WHOLE)


def _need(package: str, bits: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise NotReadyError(
            f'{bits} needs {package}: pip install "modelhost-gemma-audio[{package}]", or set quantization = "none"', retry=False
        )


def _free(device: str) -> int:
    return int(torch.cuda.mem_get_info(torch.device(device))[0])


def _main_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _check_main_memory(size: int, options: GemmaAudioOptions) -> None:
    limit = round(options.max_memory_gb * GB) if options.max_memory_gb else _main_memory()
    if size > limit:
        who = "max_memory_gb allows" if options.max_memory_gb else "this machine has"
        raise NotReadyError(
            f"the weights take {size / GB:.1f} GB here, and {who} {limit / GB:.1f}; "
            'use low_memory = true, quantization = "int8" or a smaller model',
            retry=False,
        )
