"""A whole speech: collected on disk where it is long, and sent as it is, or in JSON as base64."""

from binascii import b2a_base64
from collections.abc import AsyncIterator
from tempfile import SpooledTemporaryFile

import msgspec
from litestar.response import Stream

from modelhost.concurrency.executor import in_thread
from modelhost.contract.structs import Struct
from modelhost.http.routing.json_response import AT_ONCE, JsonStream

IN_MEMORY = 1024 * 1024
"""Bytes of one speech that are not worth a file: 20 seconds of the usual kind."""

PIECE = AT_ONCE // 4 * 3
"""Bytes of sound that become `AT_ONCE` of base64, and no padding before the end."""

_HEAD = 4096
"""Bytes within which a WAV file says how long it is."""


class Sound:
    """The sound of one answer."""

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115  # closed when it has been sent, or with this object
        self._waiting: list[bytes] = []
        self._unwritten = 0
        self.size = 0

    async def add(self, data: bytes) -> None:
        """Add to its end."""
        self._waiting.append(data)
        self._unwritten += len(data)
        self.size += len(data)
        if self._unwritten >= AT_ONCE:
            await self._write()

    async def _write(self) -> None:
        data, self._waiting, self._unwritten = b"".join(self._waiting), [], 0
        await in_thread(self._file.write, data)

    async def finish(self, *, wav: bool) -> None:
        """Say that nothing follows; what is `wav` now says how long it is."""
        await self._write()
        if wav:
            await in_thread(self._fill_in_length)

    def _fill_in_length(self) -> None:
        self._file.seek(0)
        head = with_length(self._file.read(_HEAD), self.size)
        self._file.seek(0)
        self._file.write(head)

    def answer(self, answer: Struct, headers: dict[str, str]) -> JsonStream:
        """Answer with a struct, whose empty `audio_base64` this sound takes the place of."""
        head, tail = msgspec.json.encode(answer).split(_NO_SOUND, 1)
        size = len(head) + len(_NO_SOUND) + -(-self.size // 3) * 4 + len(tail)
        return JsonStream(self._pieces(head + _NO_SOUND[:-1], _NO_SOUND[-1:] + tail), size=size, headers=headers)

    def plain(self, media_type: str, headers: dict[str, str]) -> Stream:
        """Answer with the sound itself."""
        return Stream(self._plain_pieces(), media_type=media_type, headers={**headers, "content-length": str(self.size)})

    async def _plain_pieces(self) -> AsyncIterator[bytes]:
        try:
            self._file.seek(0)
            while piece := await in_thread(self._file.read, AT_ONCE):
                yield piece
        finally:
            self._file.close()

    async def _pieces(self, head: bytes, tail: bytes) -> AsyncIterator[bytes]:
        try:
            self._file.seek(0)
            yield head
            while piece := await in_thread(self._read):
                yield piece
            yield tail
        finally:
            self._file.close()

    def _read(self) -> bytes:
        return b2a_base64(self._file.read(PIECE), newline=False)


_NO_SOUND = b'"audio_base64":""'
"""Where the sound goes. No text has it: quotes in texts are escaped."""


def with_length(head: bytes, size: int) -> bytes:
    """Fill in the two lengths that a WAV file of `size` bytes leaves open while it is being written; `head` is its beginning."""
    data = head.find(b"data", 12)
    if not head.startswith(b"RIFF") or data < 0:
        return head
    sizes = [min(length, 0xFFFFFFFF).to_bytes(4, "little") for length in (size - 8, size - data - 8)]
    return head[:4] + sizes[0] + head[8 : data + 4] + sizes[1] + head[data + 8 :]
