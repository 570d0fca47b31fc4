"""`multipart/form-data`: files go to disk while they arrive."""

from collections.abc import AsyncIterator, Callable
from typing import IO, Any

from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser

from modelhost.contract.errors import BadInputError
from modelhost.contract.types import Blob
from modelhost.http.routing.bodies.form import MAX_PARTS, Form, Texts, Upload
from modelhost.http.routing.bodies.incoming import handed
from modelhost.http.routing.bodies.media import Base64File
from modelhost.http.routing.bodies.spool import Spool
from modelhost.http.routing.errors import TooLargeError

MAX_BOUNDARY = 256
"""Letters; RFC 2046 §5.1.1 has 70, and clients that make up their own are not as strict."""

_NO_TEXT = ("audio/", "video/", "image/", "application/octet-stream")
"""Media types of parts that are files, whether they have a filename or not."""


class Parts:
    """Puts the parts of a form where they belong, piece by piece."""

    def __init__(
        self,
        texts: Texts,
        spool: Spool,
        *,
        files: frozenset[str],
        base64_as: str | None,
        most: int,
        refusal: Callable[[], TooLargeError],
    ) -> None:
        """Take fields called one of `files` for files, with a filename or without, and `base64_as` for one in base64.

        Raises `refusal` for files of more than `most` bytes together.
        """
        self.form = Form()
        self._texts = texts
        self._spool = spool
        self._files = files
        self._base64 = base64_as
        self._left = most
        self._refusal = refusal
        self._part: MultipartSegment | None = None
        self._file: IO[bytes] | None = None
        self._decoder: Base64File | None = None

    async def read(self, chunks: AsyncIterator[bytes], boundary: str) -> None:
        """Read a whole form. Raises `BadInputError` for what is none."""
        # Headers are UTF-8 by the standard, and in older clients whatever their system speaks.
        parser = PushMultipartParser(boundary, max_segment_count=MAX_PARTS, header_charset="latin-1")

        def feed(data: bytes) -> None:
            for event in parser.parse(data):
                self._take(event)

        try:
            await handed(chunks, feed)
            parser.close()
        except ParserLimitReached as error:
            raise BadInputError(f"the form has too many parts or too long headers: {error}", code="invalid_form") from None
        except (MultipartError, ValueError) as error:
            raise BadInputError(f"the form is not valid: {error}", code="invalid_form") from None
        finally:
            if self._file:
                self._file.close()

    def _take(self, event: Any) -> None:
        """Take what the parser gives: the head of a part, bytes of it, or None for its end."""
        if isinstance(event, MultipartSegment):
            self._begin(event)
        elif event is not None:
            self._add(bytes(event))
        elif self._part is not None:
            self._end(self._part)

    def _begin(self, part: MultipartSegment) -> None:
        self._part = part
        name = _name(part)
        kind = part.content_type or ""
        in_base64 = name == self._base64 and part.filename is None and not kind.startswith(_NO_TEXT)
        if in_base64 or part.filename is not None or name in self._files:
            self._file = self._spool.new()
            self._decoder = Base64File(self._file, name) if in_base64 else None
        else:
            self._texts.begin(_readable(part.name or ""), part.charset or "utf-8")

    def _add(self, data: bytes) -> None:
        if self._file is None:
            self._texts.add(data)
            return
        self._left -= len(data) * 3 // 4 if self._decoder else len(data)
        if self._left < 0:
            raise self._refusal()
        if self._decoder:
            self._decoder.feed(data)
        else:
            self._file.write(data)

    def _end(self, part: MultipartSegment) -> None:
        if self._file is None:
            return
        if self._decoder:
            self._decoder.finish()
        empty = not self._file.tell()
        self._file.close()
        upload = Upload(
            audio=Blob(path=self._file.name),
            filename=_readable(part.filename or ""),
            media_type="" if self._decoder else part.content_type or "",
            field=_name(part),
        )
        self._file = self._decoder = None
        if not (empty and part.filename is None):  # an empty field is one that was left out
            self.form.add_file(upload)


def boundary_in(parameters: str) -> str:
    """Return the boundary that a Content-Type names. Raises `BadInputError`."""
    for parameter in parameters.split(";"):
        name, _, value = parameter.strip().partition("=")
        if name.lower() == "boundary" and 0 < len(value) <= MAX_BOUNDARY:
            return value.strip('"')
    raise BadInputError("the form has no boundary in its Content-Type", code="invalid_form")


def _name(part: MultipartSegment) -> str:
    return _readable(part.name or "").removesuffix("[]")


def _readable(header: str) -> str:
    """Read a header that was taken for Latin-1 as UTF-8, where it is that."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header
