"""The text of a request: read in pieces, so that a large log need not be held in memory, and refused where it is none."""

import codecs
from collections.abc import Iterator

from modelhost import BadInputError, Blob

PIECE = 1024 * 1024
"""Bytes read at once. Chosen, because a larger piece reads no faster."""

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def pieces(blob: Blob) -> Iterator[str]:
    """Yield the text piece by piece. Raises `BadInputError` for bytes that are no UTF-8, and for a text of nothing."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    empty = True
    with blob.open() as file:
        while data := file.read(PIECE):
            piece = _decoded(decoder, data)
            if piece:
                empty = empty and not piece.strip()
                yield piece
    _decoded(decoder, b"", final=True)
    if empty:
        raise BadInputError("the text is empty; send one to summarise", param="text", code="empty_text")


def _decoded(decoder: codecs.IncrementalDecoder, data: bytes, *, final: bool = False) -> str:
    if data.startswith(_UTF_16):
        raise BadInputError("the text is UTF-16; convert it to UTF-8", param="text", code="not_utf8")
    try:
        piece = decoder.decode(data, final)
    except UnicodeDecodeError:
        raise BadInputError("the text is not UTF-8; convert it, or send a text file", param="text", code="not_utf8") from None
    if "\0" in piece:
        raise BadInputError("this is a binary file; send a text file", param="text", code="binary_file")
    return piece


def whole(blob: Blob, most: int) -> str:
    """Return all of a text of at most `most` characters. Raises `BadInputError` for a longer one, and as `pieces` does."""
    found: list[str] = []
    length = 0
    for piece in pieces(blob):
        found.append(piece)
        length += len(piece)
        refuse_longer(length, most)
    return "".join(found)


def refuse_longer(length: int, most: int) -> None:
    """Raise `BadInputError` for a text of more than `most` characters."""
    if length > most:
        raise BadInputError(
            f"the text has more than {most} characters; send less of it, or raise max_characters in the model's options",
            param="text",
            code="text_too_long",
        )


def beginning(blob: Blob) -> str:
    """Return the first 64 Ki characters at most, to tell what the text is."""
    return next(pieces(blob), "")[: 64 * 1024]
