"""How much memory this machine has."""

import os
from pathlib import Path

LEAST = 8 * 1024**3
"""Bytes. Chosen, because what runtimes map and never touch counts as well, and comes to gigabytes on small machines too."""


def all_memory() -> int:
    """Return the bytes of memory and swap, or a few GiB where there are fewer: more than that no worker can make use of."""
    try:
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        lines = Path("/proc/meminfo").read_text().splitlines()
        swap = sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("SwapTotal:"))
    except (OSError, ValueError, IndexError):
        return 0
    return max(physical + swap, LEAST)
