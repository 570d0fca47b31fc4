"""Requests that carry files: forms of both kinds, JSON with base64 in it, and the bare file, all read as one kind of form.

A file goes to disk while it arrives and to a worker by its path, so that its bytes never lie in the host's memory.
"""

import re
from io import BytesIO
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin

import msgspec
from litestar import Request

from modelhost.concurrency.executor import in_thread, parsed
from modelhost.contract.errors import BadInputError
from modelhost.contract.types import Blob
from modelhost.http.routing.bodies.form import Form, Texts, Upload
from modelhost.http.routing.bodies.incoming import (
    SMALL,
    arriving,
    base64_limit,
    handed,
    media_limit,
    plain_limit,
    server_of,
)
from modelhost.http.routing.bodies.json_text import arrived_of, json_of, made
from modelhost.http.routing.bodies.media import Media
from modelhost.http.routing.bodies.memory import hold
from modelhost.http.routing.bodies.multipart import Parts, boundary_in
from modelhost.http.routing.bodies.spool import Spool
from modelhost.http.routing.bodies.urlencoded import read_urlencoded
from modelhost.http.routing.errors import TooLargeError, UnreadableError
from modelhost.http.routing.in_flight import in_flight_of
from modelhost.http.routing.json.fields import Reader, Unknown, reader_of
from modelhost.http.routing.json.text import decoded
from modelhost.http.routing.json_body import ignored
from modelhost.http.routing.spelling import spelling

T = TypeVar("T")

_INSIDE = re.compile(r"(\[[^\[\]]{1,64}\]){1,8}")
"""What follows a table's name in a form: at most as deep as anybody's options are, chosen."""

QUOTED = 1.25
"""How much longer base64 becomes where `+`, `/` and `=` are written as %XX: one in 32 characters becomes three, and some room."""


class FormReader(Generic[T]):
    """Reads forms into structs of one type, as leniently as forms have to be: `"0.5"` is a number, `"true"` a truth."""

    def __init__(
        self,
        kind: type[T],
        *,
        files: tuple[str, ...],
        base64_as: str | None = None,
        query: bool = False,
        limit: Literal["max_audio_mb", "max_body_mb"] = "max_audio_mb",
    ) -> None:
        """Read `kind`; `files` are the fields that may be files, `base64_as` one that may have a file's bytes in base64.

        With `query` fields may stand in the URL's query as well. A file may be as large as `[server]` says under `limit`.
        """
        self._reader: Reader[T] = reader_of(kind)  # type: ignore[arg-type]  # classes can be hashed
        self._files = files
        self._base64 = base64_as
        self._query = query
        self._limit: Literal["max_audio_mb", "max_body_mb"] = limit
        fields = msgspec.structs.fields(kind)  # type: ignore[arg-type]
        self._known = frozenset(field.encode_name for field in fields)
        self._tables = frozenset(field.encode_name for field in fields if _is_table(field.type))
        self._lists = {field.encode_name: _is_choice(field.type) for field in fields if _is_list(field.type)}

    async def read(self, request: Request[Any, Any, Any]) -> tuple[T, dict[str, list[Upload]], dict[str, str]]:
        """Return the struct, the files by field, and headers for the answer; the files are there until that has gone out."""
        form = await self._form(request)
        self._fold(form)
        headers = ignored(request, sorted({*(form.fields.keys() - self._known), *(form.files.keys() - set(self._files))}))
        payload, within = await made(request, self.payload_of, form)
        in_flight_of(request.scope).spelt = spelling(payload, form.files)
        return payload, form.files, headers or ignored(request, [*within])

    async def _form(self, request: Request[Any, Any, Any]) -> Form:
        kind, _, parameters = request.headers.get("content-type", "").partition(";")
        kind = kind.strip().lower()
        in_query = self._query
        match kind.split("/"):
            case ["multipart", "form-data"]:
                form = await self._multipart(request, boundary_in(parameters))
            case ["application", "x-www-form-urlencoded"]:
                form = await self._urlencoded(request)
            case ["application", "json"]:
                form = await self._json(request)
            case ["audio" | "video", _]:
                form = await self._bare(request, kind)
                in_query = True
            case _:
                raise UnreadableError(f"send a form (multipart/form-data) with the file {self._files[0]!r}{self._or_json()}")
        for name, value in request.query_params.multi_items() if in_query else ():
            form.add(name, value)
        return form

    def _or_json(self) -> str:
        return f", or application/json with base64 in {self._base64!r}" if self._base64 else ""

    def _refusal(self, request: Request[Any, Any, Any], *, hint: bool = False) -> TooLargeError:
        most = getattr(server_of(request), self._limit)
        advice = "; send it as a file (multipart/form-data), which takes less room" if hint else ""
        return TooLargeError(
            f"the body is larger than the {most:g} MiB this host takes here ({self._limit} under [server]){advice}"
        )

    def _too_much_text(self, request: Request[Any, Any, Any]) -> TooLargeError:
        most = server_of(request).max_body_mb
        return TooLargeError(f"the fields of the form have more than {most:g} MiB together (max_body_mb under [server])")

    def _most(self, request: Request[Any, Any, Any]) -> int:
        server = server_of(request)
        return media_limit(server) if self._limit == "max_audio_mb" else plain_limit(server)

    async def _multipart(self, request: Request[Any, Any, Any], boundary: str) -> Form:
        server = server_of(request)
        most = self._most(request)
        texts = Texts(plain_limit(server), lambda: self._too_much_text(request))
        parts = Parts(
            texts,
            Spool.of(request),
            files=frozenset(self._files),
            base64_as=self._base64,
            most=most,
            refusal=lambda: self._refusal(request),
        )
        whole = most * 4 // 3 + plain_limit(server)
        try:
            await parts.read(arriving(request, whole, lambda: self._refusal(request)), boundary)
            await self._take_texts(request, texts, parts.form)
        finally:
            texts.close()
        return parts.form

    async def _urlencoded(self, request: Request[Any, Any, Any]) -> Form:
        server = server_of(request)
        most = int(base64_limit(server) * QUOTED) if self._base64 else plain_limit(server)
        found = await arrived_of(request, most, lambda: self._refusal(request, hint=True))
        texts = Texts(plain_limit(server), lambda: self._too_much_text(request))
        form = Form()

        def read() -> None:
            with BytesIO(found) if isinstance(found, bytes) else found.open() as source:
                read_urlencoded(source, form, texts, base64_as=self._base64, new=Spool.of(request).new)

        try:
            await (in_thread if isinstance(found, bytes) else parsed)(read)
            await self._take_texts(request, texts, form)
        finally:
            texts.close()
        return form

    async def _take_texts(self, request: Request[Any, Any, Any], texts: Texts, form: Form) -> None:
        large = texts.size > SMALL
        if large:
            await hold(request, texts.size)
            Media.of(request).large = True
        await (parsed if large else in_thread)(texts.read_into, form)

    async def _json(self, request: Request[Any, Any, Any]) -> Form:
        names = frozenset({self._base64} if self._base64 else ())
        body = await json_of(request, names, "; send it as a file (multipart/form-data), which takes less room")
        form = Form()
        await (parsed if len(body) > SMALL else in_thread)(self._of_json, body, form, Media.of(request))
        return form

    def _of_json(self, body: bytes, form: Form, media: Media) -> None:
        for name, value in decoded(self._fields_of, body):
            if name != self._base64:
                form.add(name, value)
            elif value != "":
                if not isinstance(value, str):
                    raise BadInputError(f"{name} must be base64", param=name)
                form.add_file(Upload(audio=media.blob(value, name), field=name))

    def _fields_of(self, body: bytes) -> list[tuple[str, Any]]:
        raw = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        known = self._known | {self._base64}
        decoded_ones = ((name, msgspec.json.decode(value) if name in known else "") for name, value in raw.items())
        return [(name, value) for name, value in decoded_ones if value is not None]

    async def _bare(self, request: Request[Any, Any, Any], kind: str) -> Form:
        """Read a body that is the file itself, as `curl --data-binary` sends it."""
        file = await in_thread(Spool.of(request).new)
        try:
            await handed(arriving(request, self._most(request), lambda: self._refusal(request)), file.write)
        finally:
            await in_thread(file.close)
        form = Form()
        form.add_file(Upload(audio=Blob(path=file.name), media_type=kind, field=self._files[0]))
        return form

    def payload_of(self, form: Form) -> tuple[T, Unknown]:
        """Return the struct, and what in its fields nobody knows. Raises `BadInputError`."""
        given = {name: self._value(name, values) for name, values in form.fields.items() if name in self._known}
        return self._reader.convert({name: value for name, value in given.items() if value != ""}, strict=False)

    def _value(self, name: str, values: list[Any]) -> Any:
        """Return a field's value; an empty one is how HTML forms leave a field out."""
        if name in self._lists:
            found = [one for value in values for one in (value if isinstance(value, list) else self._listed(name, value))]
            return [one for one in found if one != ""] or ""
        if len(values) > 1:
            raise BadInputError(f"{name} is there {len(values)} times", param=name)
        if name in self._tables and isinstance(values[0], str) and values[0]:
            try:
                return msgspec.json.decode(values[0])
            except msgspec.DecodeError:
                raise BadInputError(f"{name} is a table; write it as JSON", param=name) from None
        return values[0]

    def _fold(self, form: Form) -> None:
        """Put fields that are called `table[name][name]`, as clients of OpenAI's write tables into forms, into their tables."""
        for name in [*form.fields]:
            table, _, inside = name.partition("[")
            if table not in self._tables or not _INSIDE.fullmatch(f"[{inside}"):
                continue
            *path, last = inside.removesuffix("]").split("][")
            values = form.fields.pop(name)
            place: Any = form.fields.setdefault(table, [{}])[0]
            for step in path:
                place = place.setdefault(step, {}) if isinstance(place, dict) else None
            if not isinstance(place, dict) or last in place:
                raise BadInputError(f"{table} is there in two ways that exclude each other", param=table)
            place[last] = values[0] if len(values) == 1 else values

    def _listed(self, name: str, value: Any) -> list[Any]:
        """Return the values that one field has: a list in JSON, or several choices with commas between."""
        if isinstance(value, str) and value.lstrip().startswith("["):
            try:
                return msgspec.json.decode(value, type=list[Any])
            except msgspec.DecodeError:
                return [value]
        if isinstance(value, str) and self._lists[name]:
            return [one.strip() for one in value.split(",")]
        return [value]


def one_file(files: dict[str, list[Upload]], what: str, *names: str) -> Upload:
    """Return the one file of a form, under whichever of its names; the error says `what` it should be. Raises `BadInputError`."""
    found = [upload for name in names for upload in files.get(name, ())]
    if not found:
        raise BadInputError(f"send {what} as the file {names[0]!r}", param=names[0], code="missing_required_parameter")
    if len(found) > 1:
        raise BadInputError("send one file a request", param=found[1].field or names[0])
    return found[0]


def _parts(kind: Any) -> tuple[Any, ...]:
    return (kind, *get_args(kind))


def _is_table(kind: Any) -> bool:
    return any(get_origin(part) is dict for part in _parts(kind))


def _is_list(kind: Any) -> bool:
    return any(get_origin(part) is list for part in _parts(kind))


def _is_choice(kind: Any) -> bool:
    """Whether a list is one of names that are known, of which none has a comma in it."""
    return any(get_origin(item) is Literal for part in _parts(kind) if get_origin(part) is list for item in get_args(part))
