"""Beginnings in files: found again by whoever they belong to, and believed only as they were written."""

import os
import signal
import stat
import subprocess
import sys
from array import array

import pytest
from hypothesis import given, strategies as st
from modelhost_gguf_chat.engine.prefix_files import HEAD, PrefixFiles
from modelhost_gguf_chat.engine.prefixes import Prefix, Prefixes

MOST = 10_000


def tokens(*numbers):
    return array("i", numbers)


def prefix(*numbers, salt="", size=1000, fill=7):
    return Prefix(salt, tokens(*numbers), bytearray([fill]) * size)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "prefixes" / "model"


@pytest.fixture
def files(folder):
    return PrefixFiles(folder, "one", MOST)


def found(files, *numbers, salt="", whole=False, more_than=0):
    best = files.find(salt, tokens(*numbers), whole=whole, more_than=more_than)
    return best and [*best.tokens]


def test_the_longest_beginning_in_common_is_found_after_a_restart(files, folder):
    files.write(prefix(1, 2, 3))
    files.write(prefix(1, 2, 9, 9))
    again = PrefixFiles(folder, "one", MOST)
    assert found(again, 1, 2, 9, 5) == [1, 2, 9, 9]
    assert found(again, 1, 2, 3, 4, 5) == [1, 2, 3]
    assert again.find("", tokens(1, 2, 3, 4), whole=False, more_than=0).state == bytearray([7]) * 1000
    assert found(again, 1, 2, 3, 4, more_than=3) is None
    assert found(again, 1, 2, 9, whole=True) is None
    assert found(again, 2, 3) is None


def test_nobody_finds_what_belongs_to_another(files, folder):
    files.write(prefix(1, 2, 3, salt="anna"))
    assert found(files, 1, 2, 3, salt="bert") is None
    assert found(files, 1, 2, 3) is None
    assert found(PrefixFiles(folder, "one", MOST), 1, 2, 3, salt="anna") == [1, 2, 3]
    assert b"anna" not in b"".join(path.read_bytes() for path in folder.iterdir())


def test_only_their_owner_may_read_them(files, folder):
    files.write(prefix(1, 2, 3))
    for path in (*folder.iterdir(), folder.parent / "key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_files_of_another_revision_are_removed(files, folder):
    files.write(prefix(1, 2, 3))
    assert found(PrefixFiles(folder, "two", MOST), 1, 2, 3) is None
    assert list(folder.iterdir()) == []


@given(at=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_file_with_a_flipped_bit_is_never_believed(tmp_path_factory, at, bit):
    folder = tmp_path_factory.mktemp("prefixes") / "model"
    PrefixFiles(folder, "one", MOST).write(prefix(1, 2, 3))
    (path,) = folder.iterdir()
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 1 << bit
    path.write_bytes(data)
    damaged = PrefixFiles(folder, "one", MOST)
    for asked in ((1, 2, 3), tuple(damaged._all()[0].tokens) if damaged._all() else (1,)):
        assert damaged.find("", tokens(*asked), whole=False, more_than=0) is None


@pytest.mark.parametrize("data", [b"", b"x", b"mhprefix1", b"\0" * 10_000, bytes(HEAD.size), b"mhprefix1" + b"\xff" * 500])
def test_what_is_no_file_of_ours_is_ignored(files, folder, data):
    files.write(prefix(1, 2, 3))
    (path,) = folder.iterdir()
    path.write_bytes(data)
    assert found(files, 1, 2, 3) is None
    assert found(PrefixFiles(folder, "one", MOST), 1, 2, 3) is None


def test_a_file_of_another_key_is_not_believed(files, folder):
    files.write(prefix(1, 2, 3))
    (folder.parent / "key").unlink()
    assert found(PrefixFiles(folder, "one", MOST), 1, 2, 3) is None


def test_a_file_that_was_cut_while_it_is_there_is_not_believed(files, folder):
    files.write(prefix(1, 2, 3))
    (path,) = folder.iterdir()
    os.truncate(path, path.stat().st_size - 1)
    assert found(files, 1, 2, 3) is None
    assert list(folder.iterdir()) == []


@given(st.lists(st.integers(1, 4000), min_size=1, max_size=12))
def test_files_take_no_more_than_they_may_and_the_oldest_go(tmp_path_factory, sizes):
    folder = tmp_path_factory.mktemp("prefixes") / "model"
    files = PrefixFiles(folder, "one", MOST)
    for number, size in enumerate(sizes):
        files.write(prefix(number, 1, size=size))
        os.utime(max(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns), ns=(number, number))
        assert sum(path.stat().st_size for path in folder.iterdir()) <= MOST
        assert found(files, number, 1) == [number, 1]


def test_one_that_alone_is_too_large_changes_nothing(files, folder):
    files.write(prefix(1, 2, 3))
    files.write(prefix(4, 5, 6, size=MOST))
    assert (found(files, 1, 2, 3), found(files, 4, 5, 6)) == ([1, 2, 3], None)
    assert len([*folder.iterdir()]) == 1


def test_what_another_contains_is_kept_once(files, folder):
    files.write(prefix(1, 2))
    files.write(prefix(1, 2, 3))
    assert len([*folder.iterdir()]) == 1
    assert files.has("", tokens(1, 2))
    assert not files.has("", tokens(1, 2, 3, 4))


def test_a_full_disk_changes_nothing(files, folder, monkeypatch):
    files.write(prefix(1, 2, 3))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(OSError, match="No space"):
        files.write(prefix(4, 5, 6))
    assert len([*folder.iterdir()]) == 1
    assert found(files, 1, 2, 3) == [1, 2, 3]


def test_whoever_is_killed_while_writing_leaves_nothing_that_is_believed(folder):
    writer = """
import sys
from array import array
from pathlib import Path
from modelhost_gguf_chat.engine.prefix_files import PrefixFiles
from modelhost_gguf_chat.engine.prefixes import Prefix
files = PrefixFiles(Path(sys.argv[1]), "one", 10**9)
for number in range(10**6):
    files.write(Prefix("", array("i", [number % 5, number]), bytearray([number % 251]) * 300_000))
    print(number, flush=True)
"""
    for kills in range(int(os.environ.get("PREFIX_KILLS", "6"))):
        process = subprocess.Popen([sys.executable, "-c", writer, folder], stdout=subprocess.PIPE)
        for _ in range(kills % 4 + 1):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        files = PrefixFiles(folder, "one", 10**9)
        assert {path.suffix for path in folder.iterdir()} <= {".prefix"}
        for entry in files._all():
            best = files.find("", entry.tokens, whole=True, more_than=0)
            assert best.state == bytearray([best.tokens[1] % 251]) * 300_000


def test_memory_keeps_what_was_used_last_and_no_more_than_it_may():
    prefixes = Prefixes(2500)
    for number in range(3):
        prefixes.keep(prefix(number, 1))
    assert prefixes.bytes == 2000
    assert prefixes.find("", tokens(0, 1, 2), whole=False, more_than=0) is None
    assert [*prefixes.find("", tokens(1, 1, 2), whole=False, more_than=0).tokens] == [1, 1]
    prefixes.keep(prefix(3, 1))
    assert [prefix.tokens[0] for prefix in prefixes] == [3, 1]
    prefixes.keep(prefix(3, 1, 2))
    prefixes.keep(prefix(3, 1))
    assert [len(prefix.tokens) for prefix in prefixes] == [3, 2]
    prefixes.keep(prefix(9, 9, size=3000))
    assert prefixes.bytes == 2000
