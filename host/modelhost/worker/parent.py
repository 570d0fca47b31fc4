"""The bond to the process that started this one."""

import ctypes
import os
import signal
import sys

VARIABLE = "MODELHOST_PARENT"
"""Holds the process id of who starts this one, where its thread lives as long as it does."""


def end_with_parent() -> None:
    """Ask Linux to end us with the thread that started us, however that ends; elsewhere the end of the line has to do."""
    if sys.platform != "linux" or os.environ.get(VARIABLE) is None:
        return
    parent = int(os.environ[VARIABLE])
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:  # it died before we asked
        os._exit(0)
