"""Finding GGUF files and checking them before llama.cpp maps them: a wrong length in there is a crash or worse.

The checks hold every count, length and offset of the header against the size of the file. Layout: the GGUF
specification of ggml, versions 2 and 3.
"""

import math
import mmap
import re
import struct
from pathlib import Path
from typing import NamedTuple

from modelhost import BadInputError, NotReadyError

SHARD = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
MAX_ENTRIES = 1 << 20
"""Tensors or metadata keys. Chosen, because the largest models have a few thousand."""
MAX_DIMENSIONS = 4
"""Dimensions of a tensor: `GGML_MAX_DIMS` (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md)."""

SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
STRING, ARRAY = 8, 9
"""Types of metadata values (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md)."""

BLOCKS = {
    0: (1, 4),
    1: (1, 2),
    2: (32, 18),
    3: (32, 20),
    6: (32, 22),
    7: (32, 24),
    8: (32, 34),
    9: (32, 36),
    10: (256, 84),
    11: (256, 110),
    12: (256, 144),
    13: (256, 176),
    14: (256, 210),
    15: (256, 292),
    16: (256, 66),
    17: (256, 74),
    18: (256, 98),
    19: (256, 50),
    20: (32, 18),
    21: (256, 110),
    22: (256, 82),
    23: (256, 136),
    24: (1, 1),
    25: (1, 2),
    26: (1, 4),
    27: (1, 8),
    28: (1, 8),
    29: (256, 56),
    30: (1, 2),
    34: (256, 54),
    35: (256, 66),
    39: (32, 17),
}
"""Of each ggml tensor type: numbers in a block, bytes of a block. Tensors of others only must begin in the file."""


class Header(NamedTuple):
    """What of a checked file the plugin needs to know."""

    architecture: str
    shards: int
    """Files the model consists of."""
    pooling: int | None = None
    """How an embedding model makes one vector of a text, by llama.cpp's numbers; None where the file says nothing."""


def find(path: Path) -> tuple[Path, ...]:
    """Name the files of the model at `path`, the one llama.cpp is given first.

    `path` is a file, the first shard of several, or a folder with one model in it (projectors, `mmproj*`, do not
    count).
    """
    if path.is_dir():
        candidates = sorted(
            file
            for file in path.rglob("*.gguf")
            if not file.name.startswith("mmproj") and ((shard := SHARD.fullmatch(file.name)) is None or int(shard["number"]) == 1)
        )
        if not candidates:
            raise NotReadyError(f"there is no .gguf file in the folder {path.name!r}; name one in `source`", retry=False)
        if len(candidates) > 1:
            names = ", ".join(file.name for file in candidates[:8])
            raise BadInputError(f"the folder {path.name!r} holds several models; name one in `source`: {names}", param="source")
        path = candidates[0]
    shard = SHARD.fullmatch(path.name)
    if shard is None:
        files: tuple[Path, ...] = (path,)
    else:
        if int(shard["number"]) != 1:
            raise BadInputError(f"{path.name} is not the first file of its model; name the one with -00001-of-", param="source")
        count = int(shard["count"])
        files = tuple(path.with_name(f"{shard['stem']}-{n:05d}-of-{count:05d}.gguf") for n in range(1, count + 1))
    for file in files:
        if not file.is_file():
            raise NotReadyError(f"{file.name} is not on this machine; download it or correct `source`", retry=False)
    return files


def check(path: Path) -> Header:
    """Read the header of one file; raises `BadInputError` naming the file and what is wrong with it."""
    try:
        with path.open("rb") as file:
            if path.stat().st_size < 24:
                raise _Malformed("it is too short")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _Reader(data).header()
    except _Malformed as error:
        raise BadInputError(f"{path.name} is not a usable GGUF file: {error}; download it again", param="source") from None
    except OSError as error:
        raise NotReadyError(f"{path.name} cannot be read: {error.strerror}", retry=False) from None


class _Malformed(Exception):  # noqa: N818  # a signal inside this module
    pass


class _Reader:
    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.size = len(data)
        self.at = 0

    def header(self) -> Header:
        if self.data[:4] != b"GGUF":
            raise _Malformed("it does not begin with GGUF")
        self.at = 4
        version = self.integer("<I")
        if version not in (2, 3):
            raise _Malformed("it is big-endian" if version >> 24 else f"it has version {version}, known are 2 and 3")
        tensors, keys = self.integer("<Q"), self.integer("<Q")
        if tensors > MAX_ENTRIES or keys > MAX_ENTRIES:
            raise _Malformed("it claims an absurd number of entries")
        metadata = {}
        for _ in range(keys):
            key = self.string()
            value = self.value(self.integer("<I"))
            if key in metadata:
                raise _Malformed("a metadata key appears twice")
            metadata[key] = value
        self.tensors(tensors, metadata.get("general.alignment", 32))
        architecture = metadata.get("general.architecture")
        if not isinstance(architecture, str):
            raise _Malformed("it does not say which architecture it is for")
        shards = metadata.get("split.count", 1)
        pooling = metadata.get(f"{architecture}.pooling_type")
        return Header(
            architecture=architecture,
            shards=shards if isinstance(shards, int) else 1,
            pooling=pooling if isinstance(pooling, int) else None,
        )

    def tensors(self, count: int, alignment: object) -> None:
        if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1):
            raise _Malformed("its alignment is not a power of two")
        placed = []
        for _ in range(count):
            self.string()
            dimensions = self.integer("<I")
            if dimensions > MAX_DIMENSIONS:
                raise _Malformed(f"a tensor has {dimensions} dimensions")
            shape = [self.integer("<Q") for _ in range(dimensions)]
            kind, offset = self.integer("<I"), self.integer("<Q")
            if offset % alignment:
                raise _Malformed("a tensor is not aligned")
            elements = math.prod(shape)
            if elements >= 1 << 63:
                raise _Malformed("a tensor has an impossible shape")
            block, width = BLOCKS.get(kind, (0, 0))
            if block and shape and shape[0] % block:
                raise _Malformed("a tensor's row is not whole blocks")
            placed.append(offset + (elements // block * width if block else 1))
        start = -(-self.at // alignment) * alignment
        if placed and start + max(placed) > self.size:
            raise _Malformed(f"it is cut off: {self.size} bytes of at least {start + max(placed)}")

    def value(self, kind: int) -> object:
        """Return a scalar or a string; skip over an array."""
        if kind == STRING:
            return self.string()
        if kind != ARRAY:
            return self.number(kind)
        kind, count = self.integer("<I"), self.integer("<Q")
        if kind == STRING:
            if count * 8 > self.size - self.at:
                raise _Malformed("an array reaches beyond its end")
            for _ in range(count):
                self.skip(self.integer("<Q"))
        elif kind in SCALARS:
            self.skip(count * struct.calcsize(SCALARS[kind]))
        else:
            raise _Malformed(f"an array has elements of the unknown type {kind}")
        return None

    def number(self, kind: int) -> object:
        if kind not in SCALARS:
            raise _Malformed(f"a value has the unknown type {kind}")
        at = self.skip(struct.calcsize(SCALARS[kind]))
        return struct.unpack_from(SCALARS[kind], self.data, at)[0]

    def integer(self, form: str) -> int:
        at = self.skip(4 if form == "<I" else 8)
        number: int = struct.unpack_from(form, self.data, at)[0]
        return number

    def string(self) -> str:
        length = self.integer("<Q")
        at = self.skip(length)
        return self.data[at : at + length].decode("utf-8", "replace")

    def skip(self, length: int) -> int:
        """Move on; returns where the skipped bytes began."""
        at = self.at
        if length > self.size - at:
            raise _Malformed("it is cut off, or a length in it is wrong")
        self.at = at + length
        return at
