"""How many files the process may have open: each connection is one."""

import math
import resource


def open_files() -> float:
    """Let the process open as many files as the system grants; returns how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
        except (OSError, ValueError):
            pass  # then it stays as it is
    return math.inf if soft == resource.RLIM_INFINITY else soft
