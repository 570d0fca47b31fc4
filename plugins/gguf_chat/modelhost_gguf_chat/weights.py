"""A model's files: found, checked, and loaded into llama.cpp, which says here what it has to say."""

import ctypes
import hashlib
from collections import deque
from pathlib import Path
from typing import Any, NamedTuple

import llama_cpp
from modelhost import BadInputError, Log, NotReadyError

from modelhost_gguf_chat import gguf
from modelhost_gguf_chat.options import GgufChatOptions

LOAD_MODES = {
    (False, False): llama_cpp.LLAMA_LOAD_MODE_NONE,
    (True, False): llama_cpp.LLAMA_LOAD_MODE_MMAP,
    (False, True): llama_cpp.LLAMA_LOAD_MODE_MLOCK,
    (True, True): llama_cpp.LLAMA_LOAD_MODE_MMAP_MLOCK,
}
"""By `use_mmap` and `use_mlock`."""

ENDS = 2**20
"""Bytes at each end of a file that its fingerprint covers. Chosen, because they are read in a millisecond."""

POOLED = (llama_cpp.LLAMA_POOLING_TYPE_MEAN, llama_cpp.LLAMA_POOLING_TYPE_CLS, llama_cpp.LLAMA_POOLING_TYPE_LAST)
"""Ways to make one vector of a text; an embedding model's header names one."""


class Weights(NamedTuple):
    """Files that were found and whose headers are sound."""

    file: Path
    """The one llama.cpp is given; it finds the others beside it."""
    size: int
    """Of all of them together, in bytes."""
    embeds: bool
    """Whether they are those of a model that turns texts into vectors, and does nothing else."""


def find_weights(path: Path) -> Weights:
    """Find a model's files and check them; raises `NotReadyError` where there are none, `BadInputError` for what is no model."""
    files = gguf.find(path)
    headers = [gguf.check(file) for file in files]
    if headers[0].architecture == "clip":
        raise BadInputError(f"{files[0].name} is a projector for images or sound; name its language model", param="source")
    if headers[0].shards > len(files):
        raise BadInputError(f"{files[0].name} is one of {headers[0].shards} files and has lost its name", param="source")
    return Weights(files[0], sum(file.stat().st_size for file in files), headers[0].pooling in POOLED)


def fingerprint(weights: Path) -> str:
    """Return what changes when a model's file does: its size, its time, and its ends, where header and last tensor are."""
    facts = weights.stat()
    made = hashlib.sha256(f"{facts.st_size} {facts.st_mtime_ns}".encode())
    with weights.open("rb") as file:
        made.update(file.read(ENDS))
        file.seek(max(0, facts.st_size - ENDS))
        made.update(file.read(ENDS))
    return made.hexdigest()


def load_model(weights: Path, options: GgufChatOptions) -> Any:
    """Return llama.cpp's pointer to a model; raises `NotReadyError` with its reason, `BadInputError` for an option."""
    parameters = llama_cpp.llama_model_default_params()
    parameters.n_gpu_layers = options.n_gpu_layers
    parameters.load_mode = LOAD_MODES[options.use_mmap, options.use_mlock]
    if options.main_gpu is not None:
        if options.tensor_split:
            raise BadInputError("main_gpu and tensor_split exclude each other; leave one out", param="tensor_split")
        parameters.split_mode = llama_cpp.LLAMA_SPLIT_MODE_NONE
        parameters.main_gpu = options.main_gpu
    most = llama_cpp.llama_max_devices()
    if len(options.tensor_split) > most:
        raise BadInputError(f"tensor_split names more than the {most} devices llama.cpp can use", param="tensor_split")
    if options.tensor_split:
        split = (ctypes.c_float * most)(*options.tensor_split)
        parameters.tensor_split = ctypes.cast(split, ctypes.POINTER(ctypes.c_float))
    model = llama_cpp.llama_model_load_from_file(str(weights).encode(), parameters)
    if not model:
        raise NotReadyError(
            f"llama.cpp cannot load {weights.name}{reason()}; a newer llama-cpp-python may know this kind of model",
            retry=False,
        )
    return model


def device_of(options: GgufChatOptions) -> str:
    """Return what a model with these options runs on, as the card calls it."""
    if options.n_gpu_layers == 0 or not llama_cpp.llama_supports_gpu_offload():
        return "cpu"
    built_for: bytes = llama_cpp.llama_print_system_info()
    return next(
        (device for name, device in ((b"CUDA", "cuda"), (b"Metal", "metal"), (b"MTL", "metal")) if name in built_for),
        "gpu",
    )


_log: Log = Log(lambda level, event, facts: None)
_complaints: deque[str] = deque(maxlen=1)


def listen(log: Log) -> None:
    """Take llama.cpp's log; it has one for the whole process, so the model loaded last gets it."""
    global _log  # as global as llama.cpp's own
    _log = log
    _complaints.clear()
    llama_cpp.llama_log_set(_log_callback, ctypes.c_void_p(0))


def _on_log(level: int, text: bytes, data: Any) -> None:
    """Log warnings (3) and errors (4); llama.cpp writes about models there, never what is in a prompt."""
    if level in (3, 4):
        line = text.decode("utf-8", "replace").strip()
        if level == 4:
            _complaints.append(line)
        _log.debug("llama.cpp says", line=line[:500])


_log_callback = llama_cpp.llama_log_callback(_on_log)  # kept: llama.cpp calls it until the process ends


def reason() -> str:
    """Return llama.cpp's last complaint, in brackets, for the end of a message; empty where it had none."""
    return f" ({_complaints[-1][:200]})" if _complaints else ""
