"""JSON as clients send it: what can be read all the same is read, and what is none is told with its place."""

import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

from modelhost.contract.errors import BadInputError

T = TypeVar("T")

BOM = b"\xef\xbb\xbf"
"""What editors on Windows put before UTF-8."""

MOST_PAIRS = 100_000
"""Surrogates among which a half one is looked for. A text has few and was cut once; each takes a step in Python."""

_SURROGATE = re.compile(rb"\\u[dD]([89abAB]|[c-fC-F])[0-9a-fA-F]{2}")
_LOW = re.compile(rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_PLACE = re.compile(r"malformed: (.*) \(byte (\d+)\)")


def decoded(decode: Callable[[bytes], T], body: bytes, what: str = "the body") -> T:
    """Decode JSON. Raises `BadInputError` where it is none, and what `decode` raises for JSON of another shape.

    A byte order mark is passed over; half of a surrogate pair, which is what is left of an emoji that was cut, is U+FFFD.
    """
    try:
        return _decoded(decode, body.removeprefix(BOM), what)
    except RecursionError:
        raise BadInputError(f"{what} is nested too deeply", code="invalid_json") from None


def _decoded(decode: Callable[[bytes], T], body: bytes, what: str) -> T:
    try:
        return decode(body)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError):
        mended = _with_whole_pairs(body)
    try:
        if mended is not None:
            return decode(mended)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError):
        body = mended or body
    raise BadInputError(f"{what} {_problem(body)}", code="invalid_json") from None


def _with_whole_pairs(body: bytes) -> bytes | None:
    r"""Put U+FFFD in the place of every `\ud83d` that stands alone; None where there is none, or where there are too many."""
    parts: list[bytes] = []
    kept = seen = paired = 0
    for count, found in enumerate(_SURROGATE.finditer(body)):
        if count == MOST_PAIRS:
            return None
        at, before, seen = found.start(), body[seen : found.start()], found.end()
        if at < paired or (len(before) - len(before.rstrip(b"\\"))) % 2:  # then its backslash is one that is escaped itself
            continue
        if found[1] in b"89abAB" and _LOW.match(body, found.end()):
            paired = found.end() + 6
            continue
        parts += (body[kept:at], rb"\ufffd")
        kept = found.end()
    return b"".join((*parts, body[kept:])) if parts else None


def _problem(body: bytes) -> str:
    """Say what is wrong with a text that is no JSON, where, and what to do; of the text itself no more than a sign."""
    if not body.strip():
        return "is empty; send a JSON object"
    if body.startswith(b"\x1f\x8b"):
        return "is compressed with gzip; send it as it is"
    if body.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in body[:4]:
        return "is UTF-16 or UTF-32; send JSON in UTF-8"
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return f"is not UTF-8 at {_place(body, error.start)}; JSON is sent in UTF-8"
    try:
        msgspec.json.decode(body)
    except msgspec.ValidationError:  # it is too large a number that is found first
        pass
    except msgspec.DecodeError as error:
        return _told(str(error), body)
    return "is not valid JSON"


def _told(error: str, body: bytes) -> str:
    found = _PLACE.search(error)
    if found is None:
        return (
            f"is not valid JSON: it ends at {_place(body, len(body))} before it is complete; "
            "a quote or bracket is open, or its end was not sent"
        )
    what = found[1]
    at = int(found[2]) - ("trailing characters" in what)  # there msgspec has gone on by one
    hint = next((hint for begins, hint in _HINTS if begins.match(body, at)), "")
    if "must be strings" in what:
        hint = "names stand in double quotes"
    elif "trailing comma" in what:
        hint = "leave the last comma out"
    elif "trailing characters" in what:
        hint = hint or "send one JSON object"
    elif "surrogate" in what:
        hint = "half of a pair is no character; cut texts between characters"
    elif "escape" in what:
        hint = r"a backslash within a text is written \\"
    return f"is not valid JSON: {what} at {_place(body, at)}" + (f"; {hint}" if hint else "")


_HINTS = tuple(
    (re.compile(begins), hint)
    for begins, hint in (
        (rb"[\r\n]", r"a line break within a text is written \n"),
        (rb"[\x00-\x1f]", r"a control character within a text is written \t or \u00…"),
        (rb"NaN|-?Infinity|nan|-?inf", "JSON has no NaN and no Infinity; leave the field out"),
        (rb"True|False|None", "JSON has true, false and null"),
        (rb"undefined", "JSON has null"),
        (rb"'", "texts stand in double quotes"),
        (rb"/[/*]|#", "JSON has no comments"),
        (rb"\xe2\x80[\x98-\x9f]", 'texts stand in straight double quotes: "'),
    )
)


def _place(body: bytes, at: int) -> str:
    """Say where a byte is, as editors count."""
    begin = body.rfind(b"\n", 0, at) + 1
    column = len(body[begin:at].decode(errors="replace")) + 1
    return f"line {body.count(bytes([10]), 0, at) + 1}, column {column} (byte {at})"
