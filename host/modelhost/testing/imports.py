"""What happens when a plugin's module is imported, seen in an interpreter of its own."""

import subprocess
import sys
from functools import cache

import msgspec
import pytest

from modelhost.contract.structs import Struct

RUNTIMES = (
    "torch",
    "transformers",
    "llama_cpp",
    "ctranslate2",
    "faster_whisper",
    "sentence_transformers",
    "onnxruntime",
    "tensorflow",
    "jax",
    "av",
    "numpy",
    "pandas",
    "scipy",
)
"""What a plugin's module must not import before `load`."""

PATIENCE = 20.0
"""Seconds after which an import counts as one that hangs. Chosen, because the host gives it 10."""

TRIES = 3
"""Imports of which the fastest counts. Chosen, because a busy machine makes one import slow, and not three."""

_WATCH = """
import io, json, os, sys, time
from modelhost import Backend, ModelCard, Options, hookimpl
out = os.dup(1)
read, write = os.pipe()
os.dup2(write, 1)
began = time.perf_counter()
import {module}
seconds = time.perf_counter() - began
sys.stdout.flush()
os.set_blocking(read, False)
try:
    printed = os.read(read, 4096)
except BlockingIOError:
    printed = b""
runtimes = [name for name in {runtimes!r} if name in sys.modules]
found = {{"module": {module!r}, "seconds": seconds, "printed": printed.decode(errors="replace"), "runtimes": runtimes}}
os.write(out, json.dumps(found).encode())
"""


class Import(Struct):
    """An import as it was seen."""

    module: str
    seconds: float
    """Beside what the host's own contract takes."""
    printed: str
    runtimes: tuple[str, ...]


@cache
def imported(module: str, enough: float) -> Import:
    """Import a module in a fresh interpreter; again where it took longer than `enough`, and the quickest counts."""
    seen = _once(module)
    for _ in range(TRIES - 1):
        if seen.seconds < enough:
            break
        seen = min(seen, _once(module), key=lambda one: one.seconds)
    return seen


def _once(module: str) -> Import:
    code = _WATCH.format(module=module, runtimes=RUNTIMES)
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        pytest.fail(f"importing {module} has not ended after {PATIENCE:g} s; move what takes long into `load`", pytrace=False)
    try:
        return msgspec.json.decode(done.stdout, type=Import)
    except msgspec.DecodeError:
        tail = done.stderr.decode(errors="replace").strip()[-2000:]
        pytest.fail(f"{module} cannot be imported by itself: {tail}", pytrace=False)
