"""What a worker is started as."""

import os
import sys
import threading
from collections.abc import Mapping
from typing import Any

from modelhost.config.secrecy import given_to_workers
from modelhost.contract.structs import Struct
from modelhost.worker import parent


class WorkerSpec(Struct):
    """What is started: which plugin in which interpreter, for which model."""

    plugin: str
    model: str
    options: dict[str, Any] = {}
    python: str = sys.executable
    env: dict[str, str] = {}
    threads: int = 1
    patience: float = 60.0
    """Seconds of unanswered pings after which a worker counts as hung."""
    cancel_grace: float = 30.0
    """Seconds a backend gets to stop working on cancelled calls before its worker is ended."""
    memory: int = 0
    """Bytes it may take for itself; 0 for as many as it likes."""


def worker_environment(base: Mapping[str, str], spec: WorkerSpec) -> dict[str, str]:
    """Return the environment a worker sees: the host's without its secrets, with the model's own on top."""
    env = {name: value for name, value in base.items() if given_to_workers(name, value)}
    threads = str(spec.threads)
    env |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    if threading.current_thread() is threading.main_thread():
        # The kernel ends a worker with the *thread* that started it, so only a thread that lives as long as we do may ask.
        env[parent.VARIABLE] = str(os.getpid())
    return env | spec.env
