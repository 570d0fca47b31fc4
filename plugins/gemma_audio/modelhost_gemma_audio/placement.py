"""On which device a model runs, in which number format, and whether it fits there."""

import importlib.util
import os
from dataclasses import dataclass
from typing import Any

import torch
from modelhost import BadInputError, NotReadyError
from modelhost.authors.devices import torch_device
from modelhost.authors.extras import how_to_install

from modelhost_gemma_audio.checkpoint import Checkpoint
from modelhost_gemma_audio.options import GemmaAudioOptions

GB = 10**9
"""Bytes, as device makers count them."""
MEMORY_FACTOR = 1.2
"""GPU memory a model needs as a multiple of its weights; chosen, because caches and activations take about a fifth more."""
WHOLE = [rf"(?:.*\.)?{name}" for name in ("lm_head", "audio_tower", "embed_audio", "embed_vision", "vision_tower")]
"""Patterns of the names of parts that are not quantised: encoders lose more quality by it than they save memory."""


@dataclass(frozen=True)
class Placement:
    """Device and formats to load a model with."""

    device: str
    """torch's name of it."""
    dtype: torch.dtype
    quantization: str
    """`none`, `int8` or `int4`."""

    @property
    def kind(self) -> str:
        """Return the device without its number."""
        return self.device.partition(":")[0]


def choose_placement(checkpoint: Checkpoint, options: GemmaAudioOptions) -> Placement:
    """Choose device and formats. Raises `BadInputError` for an impossible option, `NotReadyError` where it does not fit."""
    device = torch_device(options.device, gpus=torch.cuda.device_count(), mps=torch.backends.mps.is_available())
    dtype = _dtype(options, device, checkpoint)
    quantization = _quantization(options, device, checkpoint.bytes_as(dtype.itemsize))
    if device == "cpu":
        stored = {"none": dtype.itemsize, "int8": 1}[quantization]
        _check_main_memory(checkpoint.bytes_as(dtype.itemsize, stored), options)
    return Placement(device, dtype, quantization)


def load_arguments(placement: Placement, options: GemmaAudioOptions) -> dict[str, Any]:
    """Return the arguments of `from_pretrained` for device, number format and memory."""
    arguments: dict[str, Any] = {"dtype": placement.dtype, "device_map": {"": placement.device}}
    if options.max_memory_gb and placement.kind == "cuda":
        most = min(round(options.max_memory_gb * GB), _free(placement.device))
        number = int(placement.device.partition(":")[2])
        arguments |= {"device_map": "auto", "max_memory": {number: most, "cpu": _main_memory()}}
    if placement.quantization != "none":
        arguments["quantization_config"] = _quantizer(placement)
    return arguments


def _dtype(options: GemmaAudioOptions, device: str, checkpoint: Checkpoint) -> torch.dtype:
    if options.dtype != "auto":
        return torch.float32 if options.dtype == "float32" else torch.bfloat16
    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    if device == "mps":
        return torch.bfloat16 if torch.backends.mps.is_macos_or_newer(14, 0) else torch.float32
    return torch.bfloat16 if options.low_memory and checkpoint.is_16_bit else torch.float32


def _quantization(options: GemmaAudioOptions, device: str, size: int) -> str:
    requested, limited = options.quantization, options.max_memory_gb is not None
    if device == "mps" and (limited or requested not in ("auto", "none")):
        raise BadInputError("options: `mps` has neither quantization nor max_memory_gb; leave them out, or take a smaller model")
    if requested == "auto":
        fits = not device.startswith("cuda") or size * MEMORY_FACTOR <= _free(device)
        return "none" if fits or limited else "int8"
    if requested != "none" and limited and device.startswith("cuda"):
        raise BadInputError("options: bitsandbytes leaves nothing in main memory; choose one of quantization and max_memory_gb")
    if requested == "int4" and device == "cpu":
        # torchao 0.18 has no packed form of 4 bits for a CPU: it would be int8 that remembers less
        raise BadInputError("options.quantization: `int4` needs a CUDA GPU; use `int8` on a CPU")
    return requested


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
            f'{bits} needs {package}: {how_to_install("modelhost-gemma-audio", package)}, or set quantization = "none"',
            retry=False,
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
            f"the weights take {size / GB:.1f} GB here, and {who} {limit / GB:.1f}; use low_memory = true, or a smaller model",
            retry=False,
        )
