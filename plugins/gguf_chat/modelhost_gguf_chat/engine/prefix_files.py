"""Beginnings of conversations in files, so that a model that was unloaded need not compute them again.

A file is believed only if this host has written it: a keyed hash covers all of it, because llama.cpp takes almost anything for a
state (of 60 states with one flipped bit it took 54). The key lies beside the files, readable by their owner alone.
"""

import contextlib
import hashlib
import hmac
import os
import re
import secrets
import struct
import tempfile
from array import array
from pathlib import Path
from typing import NamedTuple

import llama_cpp
from modelhost import Log
from platformdirs import user_cache_path

from modelhost_gguf_chat.engine.cells import TOKENS, common
from modelhost_gguf_chat.engine.decode import Shape
from modelhost_gguf_chat.engine.prefixes import Prefix
from modelhost_gguf_chat.options import GgufChatOptions
from modelhost_gguf_chat.weights import fingerprint

MAGIC = b"mhprefix1"
KEY_BYTES = 32
DIGEST = 32
"""Bytes of a keyed hash: BLAKE2b as RFC 7693 has it, with 256 bits for key and digest."""
HEAD = struct.Struct(f"<{len(MAGIC)}s{DIGEST}s{DIGEST}sI")
"""Magic, keyed hash of everything behind it, keyed hash of the salt, number of tokens; tokens and state follow."""
SUFFIX = ".prefix"


def files_of(model: str, weights: Path, options: GgufChatOptions, shape: Shape, log: Log) -> "PrefixFiles | None":
    """Return where beginnings of a model are kept; None where they are not."""
    if not (model and options.prefix_disk_mb):
        return None
    name = re.sub(r"[^\w.-]", "_", model)[:64] + hashlib.sha256(model.encode()).hexdigest()[:8]
    try:
        # A state names the types of the cache and how many parts it has, and cannot be read into another.
        cache = f"{options.cache_type_k} {options.cache_type_v} {1 if shape.unified else shape.sequences}"
        revision = f"{fingerprint(weights)} {llama_cpp.__version__} {cache}"
        return PrefixFiles(user_cache_path("modelhost") / "prefixes" / name, revision, options.prefix_disk_mb * 2**20)
    except OSError as error:
        log.warning("beginnings of conversations are not kept in files", error=str(error))
        return None


class _Entry(NamedTuple):
    path: Path
    salt: bytes
    tokens: "array[int]"


class PrefixFiles:
    """The folder of one model and revision. One thread may write while another one reads."""

    def __init__(self, folder: Path, revision: str, most_bytes: int) -> None:
        """Find what is there; files of other revisions, and what was half written, are removed. Raises OSError."""
        self._folder = folder
        self._revision = revision
        self.most_bytes = most_bytes
        """Of all files together."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._key = _key_of(folder.parent)
        self._entries: dict[Path, _Entry] = {}
        for path in folder.iterdir():
            entry = self._read_head(path) if path.name.startswith(self._stem) and path.suffix == SUFFIX else None
            if entry:
                self._entries[path] = entry
            else:
                path.unlink(missing_ok=True)

    def find(self, salt: str, tokens: "array[int]", *, whole: bool, more_than: int) -> Prefix | None:
        """Return the beginning with the most tokens in common; one that is not as it was written is removed."""
        while True:
            best, most = None, more_than
            hashed = self._hash(salt.encode())
            for entry in self._all():
                shared = common(entry.tokens, tokens, 0) if entry.salt == hashed else 0
                if shared > most and not (whole and shared < len(entry.tokens)):
                    best, most = entry, shared
            if best is None:
                return None
            if state := self._read(best):
                with contextlib.suppress(OSError):
                    os.utime(best.path)  # the least recently used goes first
                return Prefix(salt, best.tokens, state)
            self._remove(best.path)

    def has(self, salt: str, tokens: "array[int]") -> bool:
        """Return whether a file has all of these tokens."""
        hashed = self._hash(salt.encode())
        return any(entry.salt == hashed and common(entry.tokens, tokens, 0) == len(tokens) for entry in self._all())

    def write(self, prefix: Prefix) -> None:
        """Write a beginning, and remove what there is no room for beside it. Raises OSError, and then nothing is changed."""
        salt = self._hash(prefix.salt.encode())
        tokens = prefix.tokens.tobytes()
        size = HEAD.size + len(tokens) + len(prefix.state)
        if size > self.most_bytes:
            return
        self._make_room(size)
        digest = self._hash(self._revision.encode(), salt, tokens, prefix.state)
        path = self._folder / f"{self._stem}{self._hash(salt, tokens).hex()[:32]}{SUFFIX}"
        handle, name = tempfile.mkstemp(dir=self._folder)  # mode 0600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(HEAD.pack(MAGIC, digest, salt, len(prefix.tokens)))
                file.write(tokens)
                file.write(prefix.state)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        self._entries[path] = _Entry(path, salt, prefix.tokens)
        self._forget_contained(path)

    @property
    def _stem(self) -> str:
        return hashlib.blake2b(self._revision.encode(), digest_size=8).hexdigest() + "-"

    def _all(self) -> list[_Entry]:
        return [*self._entries.values()]

    def _forget_contained(self, path: Path) -> None:
        """Remove files of which another one has every token."""
        whole = self._entries[path]
        for entry in self._all():
            contained = entry.salt == whole.salt and common(whole.tokens, entry.tokens, 0) == len(entry.tokens)
            if contained and entry.path != path:
                self._remove(entry.path)

    def _make_room(self, size: int) -> None:
        sizes = []
        for entry in self._all():
            try:
                facts = entry.path.stat()
            except OSError:
                self._entries.pop(entry.path, None)
                continue
            sizes.append((facts.st_mtime_ns, facts.st_size, entry.path))
        total = sum(of for _, of, _ in sizes)
        for _, of, path in sorted(sizes):
            if total + size <= self.most_bytes:
                return
            self._remove(path)
            total -= of

    def _remove(self, path: Path) -> None:
        self._entries.pop(path, None)
        path.unlink(missing_ok=True)

    def _read_head(self, path: Path) -> _Entry | None:
        with contextlib.suppress(OSError, struct.error, ValueError), path.open("rb") as file:
            magic, _, salt, number = HEAD.unpack(file.read(HEAD.size))
            tokens = array(TOKENS)
            if magic == MAGIC and number * tokens.itemsize <= path.stat().st_size:
                tokens.frombytes(file.read(number * tokens.itemsize))
                return _Entry(path, salt, tokens) if len(tokens) == number else None
        return None

    def _read(self, entry: _Entry) -> bytearray | None:
        """Return the state of a file, if it is what was written."""
        try:
            data = bytearray(entry.path.read_bytes())
        except OSError:
            return None
        if len(data) < HEAD.size:
            return None
        magic, digest, salt, number = HEAD.unpack_from(data)
        begin = HEAD.size + number * entry.tokens.itemsize
        tokens, state = data[HEAD.size : begin], data[begin:]
        right = magic == MAGIC and salt == entry.salt and tokens == entry.tokens.tobytes()
        if right and hmac.compare_digest(digest, self._hash(self._revision.encode(), salt, tokens, state)):
            return state
        return None

    def _hash(self, *parts: bytes | bytearray) -> bytes:
        made = hashlib.blake2b(key=self._key, digest_size=DIGEST)
        for part in parts:
            made.update(len(part).to_bytes(8, "little"))
            made.update(part)
        return made.digest()


def _key_of(folder: Path) -> bytes:
    """Return the key in a folder, made anew where there is none. Raises OSError."""
    path = folder / "key"
    with contextlib.suppress(FileNotFoundError):
        key = path.read_bytes()
        if len(key) == KEY_BYTES:
            return key
        path.unlink()
    handle, name = tempfile.mkstemp(dir=folder)
    with os.fdopen(handle, "wb") as file:
        file.write(secrets.token_bytes(KEY_BYTES))
    with contextlib.suppress(FileExistsError):
        os.link(name, path)  # another process may have been faster: then its key holds
    Path(name).unlink()
    return path.read_bytes()
