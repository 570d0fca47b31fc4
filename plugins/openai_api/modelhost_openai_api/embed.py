"""Texts to vectors: batches go up, vectors come down and are brought to length 1."""

import math
from array import array
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
from modelhost import BackendFailedError, Context, Done, EmbedEvent, EmbedRequest, UnsupportedError, Usage, Vectors

from modelhost_openai_api.chunks import count
from modelhost_openai_api.upstream import Upstream

FLOAT_BYTES = 4
"""Bytes of a float32."""


class Row(msgspec.Struct):
    """The vector of one input: little-endian float32 in base64, or numbers of servers that do not know that."""

    embedding: bytes | list[float]
    index: int


class EmbeddingsCost(msgspec.Struct):
    """Token counts."""

    prompt_tokens: int | None = None


class Embeddings(msgspec.Struct):
    """The answer to one batch; each `Row` is read by itself, because its numbers take several times its bytes."""

    data: list[msgspec.Raw]
    usage: EmbeddingsCost | None = None


MOST_ROW = 1024 * 1024
"""Bytes of one input's vector in JSON: chosen, because 16,384 numbers of full precision take a third of it."""

_decoder = msgspec.json.Decoder(Embeddings)
_row_decoder = msgspec.json.Decoder(Row)


async def embed(upstream: Upstream, request: EmbedRequest, context: Context) -> AsyncIterator[EmbedEvent]:
    """Yield the vectors, batch by batch. Raises `ModelhostError`."""
    fields = _fields(upstream, request)
    size, tokens = upstream.options.batch_size, 0
    for first in range(0, len(request.inputs), size):
        inputs = request.inputs[first : first + size]
        async with upstream.post_json("embeddings", context, {**fields, "input": inputs}) as response:
            answer, rows = _answer(await response.aread(), len(inputs))
        tokens += count(answer.usage.prompt_tokens if answer.usage else None)
        yield _vectors(first, rows)
    yield Done(usage=Usage(input_tokens=tokens))


def _fields(upstream: Upstream, request: EmbedRequest) -> dict[str, Any]:
    """Return all of the body but the inputs. Raises `UnsupportedError` for a field the upstream has no word for."""
    ours = {name: value for name in ("prompt_name", "title") if (value := getattr(request, name)) is not None}
    if ours and not upstream.options.extensions:
        name = next(iter(ours))
        raise UnsupportedError(f"the upstream's embeddings take no {name}; leave it out", param=name)
    dimensions = {} if request.dimensions is None else {"dimensions": request.dimensions}
    return {"model": upstream.model, "encoding_format": "base64", **dimensions, **ours}


def _answer(body: bytes, wanted: int) -> "tuple[Embeddings, dict[int, array[float]]]":
    """Read an answer and its vectors by input. Raises `BackendFailedError` where they are not those of the inputs."""
    rows: dict[int, array[float]] = {}
    try:
        answer = _decoder.decode(body)
        if len(answer.data) == wanted and all(len(memoryview(raw)) <= MOST_ROW for raw in answer.data):
            for raw in answer.data:
                row = _row_decoder.decode(raw)
                rows[row.index] = _unit(_numbers(row.embedding))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BackendFailedError("the upstream's answer is not one of OpenAI's embeddings") from None
    if rows.keys() != set(range(wanted)):
        raise BackendFailedError(f"the upstream did not give one vector of at most {MOST_ROW} bytes for each input")
    return answer, rows


def _vectors(first: int, rows: "dict[int, array[float]]") -> Vectors:
    vectors = [rows[number] for number in range(len(rows))]
    if len({len(vector) for vector in vectors}) != 1:
        raise BackendFailedError("the upstream's vectors are not of one length")
    return Vectors(first=first, dimensions=len(vectors[0]), data=b"".join(vector.tobytes() for vector in vectors))


def _numbers(embedding: bytes | list[float]) -> "array[float]":
    if isinstance(embedding, list):
        return array("f", embedding)
    if len(embedding) % FLOAT_BYTES:
        raise BackendFailedError("the upstream's vectors are not of float32")
    return array("f", embedding)


def _unit(vector: Sequence[float]) -> "array[float]":
    """Scale to length 1 what is not. Raises `BackendFailedError` for a vector without direction."""
    length = math.hypot(*vector)
    if not 0 < length < math.inf:
        raise BackendFailedError("the upstream gave a vector without direction")
    if math.isclose(length, 1.0, abs_tol=1e-4):
        return array("f", vector)
    return array("f", (number / length for number in vector))
