"""`POST /parse-ast`: what a file of source code is made of, as older clients ask for it."""

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE
from typing import Any

import msgspec
from litestar import Request, post
from msgspec import UNSET, UnsetType

from modelhost.contract.errors import BadInputError, UnsupportedError
from modelhost.contract.structs import Struct
from modelhost.http.native import python_outline as outline
from modelhost.http.native.dialect import route_spec
from modelhost.http.routing.bodies.form import Upload
from modelhost.http.routing.disconnect import CancelOnDisconnect
from modelhost.http.routing.forms import FormReader
from modelhost.http.routing.json_response import JsonResponse
from modelhost.http.routing.spec import Example
from modelhost.http.routing.statuses import OK
from modelhost.http.routing.text_files import text_of

LANGUAGES = ("python",)

MAX_CHARACTERS = 1024 * 1024
"""Of one file."""
MAX_SECONDS = 20
"""Until a parser that is not done is ended; its own limit is of CPU time."""

# A parser may take a gigabyte for a moment, so not many run at once; what waits for its turn can be given up.
_turns = asyncio.Semaphore(2)


class ParseForm(Struct):
    """`POST /parse-ast`: the code is the file `file`."""

    language: str = "python"


class Param(Struct):
    """A parameter, with what is written after its name; `type` is `None` where nothing is."""

    name: str
    """With its stars, where it takes any number."""
    type: str
    default: str | UnsetType = UNSET


class Function(Struct):
    """A function or method; `returns` is `None` where nothing is written."""

    name: str
    docstring: str
    params: list[Param]
    returns: str
    decorators: list[str]
    is_async: bool


class Class(Struct):
    """A class, with the methods it defines itself."""

    name: str
    docstring: str
    base_classes: list[str]
    methods: list[Function]
    decorators: list[str]


class Outline(Struct):
    """A file: what it imports anywhere, and what it defines at its top."""

    language: str
    docstring: str
    imports: list[str]
    functions: list[Function]
    classes: list[Class]


class _Parsed(Struct):
    """What the parser writes: an outline, or where and why there is none."""

    outline: Outline | None = None
    line: int = 0
    column: int = 0
    problem: str = ""


_form = FormReader(ParseForm, files=("file",), limit="max_body_mb")
_decoder = msgspec.json.Decoder(_Parsed)

_EXAMPLE = {
    "language": "python",
    "docstring": "Greetings.",
    "imports": ["os"],
    "functions": [
        {
            "name": "greet",
            "docstring": "",
            "params": [{"name": "name", "type": "str", "default": "'you'"}],
            "returns": "str",
            "decorators": [],
            "is_async": False,
        }
    ],
    "classes": [],
}


@post(
    "/parse-ast",
    status_code=OK,
    summary="Outline a file of source code",
    opt=route_spec(
        "inference",
        tag="Code",
        form=ParseForm,
        files=("file",),
        answer=Outline,
        response_examples={"answer": Example(value=_EXAMPLE)},
    ),
)
async def parse_ast(request: Request[Any, Any, Any]) -> JsonResponse:
    """Imports, classes and functions of a Python file; it is parsed and never run. No model takes part."""
    payload, files, headers = await _form.read(request)
    if payload.language.lower() not in LANGUAGES:
        raise UnsupportedError(f"this language is not supported; these are: {', '.join(LANGUAGES)}", param="language")
    with CancelOnDisconnect(request):
        parsed = await _parsed(await _text(files))
    if parsed.outline is None:
        where = f"line {parsed.line}, column {parsed.column}"
        raise BadInputError(f"the code does not parse at {where}: {parsed.problem}", param="file", code="invalid_syntax")
    return JsonResponse(parsed.outline, headers=headers)


async def _text(files: dict[str, list[Upload]]) -> str:
    text = await asyncio.to_thread(text_of, files)
    if len(text) > MAX_CHARACTERS:
        raise BadInputError(f"the file has {len(text)} characters, {MAX_CHARACTERS} are allowed; send it in parts", param="file")
    return text


async def _parsed(text: str) -> _Parsed:
    """Parse a text in a process of its own, in its turn. Raises `BadInputError` for one that is too much for it."""
    command = [sys.executable, "-I", "-S", "-W", "ignore", outline.__file__]
    async with _turns:
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env={})
        try:
            async with asyncio.timeout(MAX_SECONDS):
                written, _ = await process.communicate(text.encode())
        except TimeoutError:
            written = b""
        finally:
            if process.returncode is None:  # its time is up, or nobody waits any more
                process.kill()
                await process.wait()
    if process.returncode or not written:
        raise BadInputError(
            "the code is nested too deeply, or takes too much memory or time to parse", param="file", code="too_complex"
        )
    return _decoder.decode(written)
