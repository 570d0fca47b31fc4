"""Requests that carry files: multipart and urlencoded forms, and JSON with base64 in it, all read as one kind of form.

A file goes to disk while it arrives and to a worker by its path, so that its bytes never lie in the host's memory; base64 in JSON
does, until it is decoded.
"""

import asyncio
import base64
import binascii
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qsl

import msgspec
from litestar import Request
from litestar.exceptions import HTTPException
from msgspec import UNSET, UnsetType
from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser

from modelhost.errors import BadInputError
from modelhost.http.json.fields import Reader, reader_of
from modelhost.http.json.text import decoded
from modelhost.http.reading import host_of, ignored
from modelhost.http.visit import visit_of
from modelhost.structs import Struct
from modelhost.types import Blob

T = TypeVar("T")

MAX_PARTS = 256
MAX_FIELD = 1024 * 1024
"""Bytes of a field that is no file."""

_large = asyncio.Semaphore(2)
"""Turns at decoding JSON that carries a file, which lies in memory three times meanwhile.

Not held while a body arrives: who sends slowly would keep others out.
"""


class Upload(Struct):
    """A file of a form; it is there until the request has been answered."""

    audio: Blob
    filename: str = ""
    media_type: str = ""

    @property
    def format(self) -> str:
        """What the client says it is: `wav`, `mp3`, …; empty where it says nothing."""
        return Path(self.filename).suffix.removeprefix(".").lower() or self.media_type.rpartition("/")[2].removeprefix("x-")


class Form:
    """Fields and files by name. Names of lists may end in `[]`, as SDKs write them."""

    def __init__(self) -> None:
        self.fields: dict[str, list[Any]] = {}
        self.files: dict[str, list[Upload]] = {}

    def add(self, name: str, value: Any) -> None:
        """Add a field."""
        self.fields.setdefault(name.removesuffix("[]"), []).append(value)


class FormReader(Generic[T]):
    """Reads forms into structs of one type, as leniently as forms have to be: `"0.5"` is a number, `"true"` a truth."""

    def __init__(self, kind: type[T], *, files: tuple[str, ...], base64_as: str | None = None, query: bool = False) -> None:
        """Read `kind`; `files` are the fields that may be files, `base64_as` one that may have a file's bytes in base64.

        With `query` fields may stand in the URL's query as well.
        """
        self._reader: Reader[T] = reader_of(kind)  # type: ignore[arg-type]  # classes can be hashed
        self._files = files
        self._base64 = base64_as
        self._query = query
        fields = msgspec.structs.fields(kind)  # type: ignore[arg-type]
        self._known = frozenset(field.encode_name for field in fields)
        names = sorted(self._known | ({base64_as} if base64_as else set()))
        self._large_json = msgspec.defstruct("LargeJson", [(name, msgspec.Raw | UnsetType, UNSET) for name in names])
        self._lists = frozenset(field.encode_name for field in fields if _is_list(field.type))

    async def read(self, request: Request[Any, Any, Any]) -> tuple[T, dict[str, list[Upload]], dict[str, str]]:
        """Give the struct, the files by field, and headers for the answer; the files are there until that has gone out."""
        folder = Path(tempfile.mkdtemp(prefix="modelhost-upload-"))
        visit_of(request.scope).on_leave(lambda: shutil.rmtree(folder, ignore_errors=True))
        form = await self._form(request, folder)
        for name, value in request.query_params.multi_items() if self._query else ():
            form.add(name, value)
        headers = ignored(request, sorted({*(form.fields.keys() - self._known), *(form.files.keys() - set(self._files))}))
        plain = {name: self._value(name, values) for name, values in form.fields.items() if name in self._known}
        asked, within = self._reader.convert(plain, strict=False)
        return asked, form.files, headers or ignored(request, [*within])

    async def _form(self, request: Request[Any, Any, Any], folder: Path) -> Form:
        server = host_of(request).config.server
        plain, most = int(server.max_body_mb * 2**20), int(server.max_audio_mb * 2**20)
        kind, _, parameters = request.headers.get("content-type", "").partition(";")
        match kind.strip().lower():
            case "multipart/form-data":
                form = await _multipart(_limited(request, most + MAX_FIELD), _boundary(parameters), folder)
            case "application/x-www-form-urlencoded":
                form = await asyncio.to_thread(_urlencoded, await _whole(_limited(request, plain)))
            case "application/json":
                return await self._json(request, folder, plain, most * 4 // 3 + MAX_FIELD)
            case _:
                raise HTTPException(status_code=415)
        await asyncio.to_thread(self._take_base64, form, folder)
        return form

    async def _json(self, request: Request[Any, Any, Any], folder: Path, plain: int, most: int) -> Form:
        """Read JSON; only the field with a file in base64 may be large."""
        length = int(request.headers.get("content-length") or most)
        if length <= plain or self._base64 is None:
            return await asyncio.to_thread(self._of_json, await _whole(_limited(request, plain)), plain, folder)
        body = await _whole(_limited(request, most))
        async with _large:
            return await asyncio.to_thread(self._of_json, body, plain, folder)

    def _of_json(self, body: bytes, plain: int, folder: Path) -> Form:
        form = Form()
        for name, value in decoded(lambda body: self._fields_of(body, plain), body):
            form.add(name, value)
        self._take_base64(form, folder)
        return form

    def _fields_of(self, body: bytes, plain: int) -> list[tuple[str, Any]]:
        if len(body) <= plain:
            raw = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        else:  # a million unknown names must not become a million objects: they are passed over
            found = msgspec.json.decode(body, type=self._large_json)
            raw = {name: value for name in found.__struct_fields__ if (value := getattr(found, name)) is not UNSET}
        if sum(len(bytes(value)) for name, value in raw.items() if name != self._base64) > plain:
            raise HTTPException(status_code=413)
        known = self._known | {self._base64}
        decoded_ones = ((name, msgspec.json.decode(value) if name in known else "") for name, value in raw.items())
        return [(name, value) for name, value in decoded_ones if value is not None]

    def _take_base64(self, form: Form, folder: Path) -> None:
        if self._base64 is None or self._base64 not in form.fields:
            return
        (text, *more) = form.fields.pop(self._base64)
        if more or self._base64 in form.files:
            raise BadInputError(f"{self._base64} is there twice", param=self._base64)
        if not isinstance(text, str):
            raise BadInputError(f"{self._base64} must be base64", param=self._base64)
        form.files[self._base64] = [Upload(audio=_stored(from_base64(text, self._base64), folder))]

    def _value(self, name: str, values: list[Any]) -> Any:
        if name in self._lists:
            return values[0] if len(values) == 1 and isinstance(values[0], list) else values
        if len(values) > 1:
            raise BadInputError(f"{name} is there {len(values)} times", param=name)
        # An empty field is how HTML forms leave one out.
        return None if values[0] == "" else values[0]


def one_file(files: dict[str, list[Upload]], what: str, *names: str) -> Upload:
    """Give the one file of a form, under whichever of its names; `what` it should be is for the error. Raises `BadInputError`."""
    found = [upload for name in names for upload in files.get(name, ())]
    if not found:
        raise BadInputError(f"send {what} as the file {names[0]!r}", param=names[0], code="missing_required_parameter")
    if len(found) > 1:
        raise BadInputError("send one file a request", param=names[0])
    return found[0]


def from_base64(text: str, param: str) -> bytes:
    """Decode base64, with or without the head of a `data:` URL. Raises `BadInputError`."""
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadInputError(f"{param} is not valid base64", param=param, code="invalid_base64") from None


def _is_list(kind: Any) -> bool:
    return any(getattr(part, "__origin__", part) is list for part in (kind, *getattr(kind, "__args__", ())))


def _stored(data: bytes, folder: Path) -> Blob:
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        file.write(data)
    return Blob(path=file.name)


async def _limited(request: Request[Any, Any, Any], limit: int) -> AsyncIterator[bytes]:
    if int(request.headers.get("content-length") or 0) > limit:
        raise HTTPException(status_code=413)
    read = 0
    async for chunk in request.stream():
        read += len(chunk)
        if read > limit:
            raise HTTPException(status_code=413)
        yield chunk


async def _whole(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


def _boundary(parameters: str) -> str:
    for parameter in parameters.split(";"):
        name, _, value = parameter.strip().partition("=")
        if name.lower() == "boundary" and 0 < len(value) <= 200:
            return value.strip('"')
    raise BadInputError("the form has no boundary in its Content-Type", code="invalid_form")


async def _multipart(chunks: AsyncIterator[bytes], boundary: str, folder: Path) -> Form:
    parts = _Parts(folder)
    try:
        with contextlib.closing(parts), PushMultipartParser(boundary, max_segment_count=MAX_PARTS) as parser:
            async for chunk in chunks:
                for event in parser.parse(chunk):
                    parts.take(event)
            parser.close()
    except ParserLimitReached as error:
        raise BadInputError(f"the form has too many parts or too long headers: {error}", code="invalid_form") from None
    except (MultipartError, ValueError) as error:
        raise BadInputError(f"the form is not valid: {error}", code="invalid_form") from None
    return parts.form


class _Parts:
    """Puts the parts of a form where they belong, piece by piece: fields into memory, files into files."""

    def __init__(self, folder: Path) -> None:
        self.form = Form()
        self._folder = folder
        self._part: MultipartSegment | None = None
        self._text = bytearray()
        self._file: Any = None

    def close(self) -> None:
        """Close a file that was left open."""
        if self._file:
            self._file.close()

    def take(self, event: Any) -> None:
        """Take what the parser gives: the head of a part, bytes of it, or None for its end."""
        if isinstance(event, MultipartSegment):
            self._begin(event)
        elif event is not None:
            self._add(bytes(event))
        elif self._part is not None:
            self._end(self._part)

    def _begin(self, part: MultipartSegment) -> None:
        self._part = part
        self._text = bytearray()
        if part.filename is not None:
            self._file = tempfile.NamedTemporaryFile(dir=self._folder, delete=False)  # noqa: SIM115  # closed by `_end`

    def _add(self, data: bytes) -> None:
        if self._file:
            self._file.write(data)
            return
        self._text += data
        if len(self._text) > MAX_FIELD and self._part is not None and self._part.name != "audio":
            raise BadInputError(f"the field {self._part.name[:100]!r} is too long", param=self._part.name[:100])

    def _end(self, part: MultipartSegment) -> None:
        if self._file:
            self._file.close()
            upload = Upload(audio=Blob(path=self._file.name), filename=part.filename or "", media_type=part.content_type or "")
            self.form.files.setdefault(part.name.removesuffix("[]"), []).append(upload)
            self._file = None
        else:
            self.form.add(part.name, _text(bytes(self._text), part.name))


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise BadInputError(f"{name[:100]} is not UTF-8", param=name[:100]) from None


def _urlencoded(body: bytes) -> Form:
    form = Form()
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True, max_num_fields=MAX_PARTS)
    except ValueError as error:
        raise BadInputError(f"the form is not valid: {error}", code="invalid_form") from None
    for name, value in pairs:
        form.add(name, value)
    return form
