"""A host's temporary files: one folder for all of them, which is gone when the host is, however it ends.

A host that is killed removes nothing, so the next one does. A lock on the folder tells whether its host lives; the system takes
it away with the process, also across containers that share the folder, so nobody who lives loses a file. Programs that clean
up temporary folders leave a locked one alone.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "modelhost-host-"


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Have every temporary file of this process lie in a folder of its own, after removing those of hosts that are dead."""
    outside = Path(tempfile.gettempdir())
    remove_leftovers(outside)
    folder = Path(tempfile.mkdtemp(prefix="modelhost-new-"))
    lock = _locked(folder)
    assert lock is not None
    # Under this name it is looked at by others, so it must be locked by then.
    folder = folder.rename(folder.with_name(folder.name.replace("modelhost-new-", PREFIX)))
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield folder
    finally:
        tempfile.tempdir = before
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def remove_leftovers(outside: Path) -> None:
    """Remove what dead hosts of this user have left in a folder for temporary files."""
    for folder in outside.glob(f"{PREFIX}*"):
        lock = _locked(folder)
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _locked(folder: Path) -> int | None:
    """Lock a folder of ours; None where it is somebody else's, or no folder."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        if os.fstat(descriptor).st_uid == os.geteuid():
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
    except OSError:  # it is locked: its host lives
        os.close(descriptor)
        return None
    os.close(descriptor)
    return None
