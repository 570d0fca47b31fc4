"""How a worker ended, and whether what it was doing can be to blame."""

import signal
from pathlib import Path

from modelhost.contract.structs import Struct

OF_ITS_OWN = frozenset(
    {
        signal.SIGSEGV,
        signal.SIGBUS,
        signal.SIGILL,
        signal.SIGFPE,
        signal.SIGABRT,
        signal.SIGSYS,
        signal.SIGTRAP,
        signal.SIGXCPU,
        signal.SIGXFSZ,
    }
)
"""Signals a process gets for what it does itself; the rest are sent by somebody."""


class Death(Struct):
    """The end of a worker that was not asked to end."""

    why: str
    from_outside: bool = False
    """Whether somebody else ended it, so that no request can be to blame."""


def death_of(status: int, *, why: str, ended_by_us: bool, out_of_memory: bool) -> Death:
    """Explain an exit status, as `subprocess` returns it; `why` takes its place where more is known.

    A signal that nobody sends himself counts as sent from outside, unless we sent it (because the worker hung, or talked
    nonsense) or the kernel did when memory ran out: a request that makes a worker take everything ends that way each time.
    """
    if status >= 0:
        return Death(why=why or f"it exited with status {status}")
    try:
        number = signal.Signals(-status)
    except ValueError:  # a real-time signal: only somebody else sends those
        return Death(why=why or f"it was ended by signal {-status}", from_outside=True)
    ended_by = f"it was ended by {number.name}"
    if number is signal.SIGILL:
        ended_by += (
            ": a library in it was built for another processor; install the plugin anew on this machine, without pip's cache"
        )
    if number is signal.SIGKILL and out_of_memory and not ended_by_us:
        return Death(why=why or f"{ended_by}: the system had no memory left")
    return Death(why=why or ended_by, from_outside=not ended_by_us and number not in OF_ITS_OWN)


def oom_kills(vmstat: Path = Path("/proc/vmstat")) -> int:
    """Count the processes the kernel has ended for want of memory; 0 where it does not say."""
    try:
        words = vmstat.read_text().split()
        return int(words[words.index("oom_kill") + 1])
    except (OSError, ValueError, IndexError):
        return 0
