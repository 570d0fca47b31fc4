"""What every JSON body has in common, whatever its type: derived from the types of all routes, so that none can be left out."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import msgspec
import openai
import pytest
from modelhost.contract.errors import BadInputError
from modelhost.http.app import ROUTES
from modelhost.http.routing.bodies.media import Media
from modelhost.http.routing.bodies.spool import Spool
from modelhost.http.routing.json.fields import reader_of
from modelhost.http.routing.json.foreign_fields import EMBEDDING, GENERATING
from modelhost.http.routing.spec import spec_of
from msgspec import inspect
from serving import Serve, Served

NO_MEDIA = Media(Spool(lambda remove: None))

Place = tuple[Callable[[dict[str, Any]], Any], str, inspect.StructType]
"""Puts an object into a body, the object's path there, and what it is."""


def _types() -> dict[str, Any]:
    """Every type a client's JSON is read into: bodies, forms, and messages of WebSockets."""
    said = [spec_of(route) for route in ROUTES]
    kinds = [kind for one in said for kind in (one.body, one.form, *one.receives) if kind is not None]
    return {kind.__name__ + str(kind.__struct_config__.tag or ""): kind for kind in kinds}


TYPES = _types()


def _minimal(kind: inspect.Type) -> Any:
    """The least that may stand where a type is asked for."""
    match kind:
        case inspect.Metadata():
            return _minimal(kind.type)
        case inspect.UnionType():
            return _minimal(kind.types[0])
        case inspect.StructType():
            tag = {kind.tag_field: kind.tag} if kind.tag_field else {}
            return {**tag, **{field.encode_name: _minimal(field.type) for field in kind.fields if field.required}}
        case inspect.ListType() | inspect.VarTupleType():
            return [_minimal(kind.item_type)] if kind.min_length else []
        case inspect.DictType():
            return {}
        case inspect.IntType():
            return max(1, kind.ge or 1)
        case inspect.FloatType():
            return 1.0
        case inspect.BoolType():
            return True
        case inspect.LiteralType():
            return kind.values[0]
    return "x"


def _places(kind: inspect.Type) -> Iterator[Place]:
    match kind:
        case inspect.Metadata():
            yield from _places(kind.type)
        case inspect.UnionType():
            for part in kind.types:
                yield from _places(part)
        case inspect.ListType():
            for build, path, found in _places(kind.item_type):
                yield (lambda one, build=build: [build(one)]), f"[0]{path}", found
        case inspect.StructType():
            yield (lambda one: one), "", kind
            for field in kind.fields:
                for build, path, found in _places(field.type):

                    def put(one: dict[str, Any], build: Any = build, name: str = field.encode_name) -> Any:
                        return {**_minimal(kind), name: build(one)}

                    yield put, f".{field.encode_name}{path}", found


def places(name: str) -> list[Place]:
    """All objects that a body may hold, itself among them."""
    return [(build, path.lstrip("."), kind) for build, path, kind in _places(inspect.type_info(TYPES[name]))]


def read(name: str, value: Any) -> tuple[Any, dict[str, Any]]:
    """Read it as its route would."""
    value, unknown = reader_of(TYPES[name]).read(json.dumps(value).encode())
    return value, unknown


def _same(one: Any, other: Any) -> bool:
    """Whether two mean the same: the strict way to read gives structs of its own."""
    return bool(msgspec.to_builtins(one) == msgspec.to_builtins(other))


@pytest.mark.parametrize("name", TYPES)
def test_a_field_nobody_knows_is_named_by_its_path_at_every_depth(name: str) -> None:
    for build, path, kind in places(name):
        value, unknown = read(name, build({**_minimal(kind), "zzz": 1}))
        assert unknown == {f"{path}.zzz".lstrip("."): 1}
        assert _same(value, read(name, build(_minimal(kind)))[0])
        assert read(name, build({**_minimal(kind), "zzz": None}))[1] == {}


@pytest.mark.parametrize("name", TYPES)
def test_null_is_as_good_as_absent_at_every_depth(name: str) -> None:
    for build, path, kind in places(name):
        left_out = read(name, build(_minimal(kind)))
        for field in kind.fields:
            if not field.required:
                value, unknown = read(name, build({**_minimal(kind), field.encode_name: None}))
                assert _same(value, left_out[0]), f"{path}.{field.encode_name}"
                assert unknown == {}


def _is_whole(kind: inspect.Type) -> bool:
    match kind:
        case inspect.Metadata():
            return _is_whole(kind.type)
        case inspect.UnionType():
            return any(map(_is_whole, kind.types)) and not any(isinstance(part, inspect.FloatType) for part in kind.types)
    return isinstance(kind, inspect.IntType)


@pytest.mark.parametrize("name", TYPES)
def test_a_whole_number_is_whole_however_it_is_written(name: str) -> None:
    for build, _, kind in places(name):
        for field in kind.fields:
            if _is_whole(field.type):
                number = _minimal(next(part for part in getattr(field.type, "types", (field.type,)) if _is_whole(part)))
                written = read(name, build({**_minimal(kind), field.encode_name: float(number)}))[0]
                assert _same(written, read(name, build({**_minimal(kind), field.encode_name: number}))[0])
                with pytest.raises(BadInputError):
                    read(name, build({**_minimal(kind), field.encode_name: number + 0.5}))


@pytest.fixture(scope="module")
def host(serve: Serve) -> Served:
    return serve('[server]\nmax_body_mb = 1\n[models.echo]\nplugin = "echo"\n')


@pytest.fixture(scope="module")
def strict(serve: Serve) -> Served:
    return serve('[server]\nstrict = true\n[models.echo]\nplugin = "echo"\n')


def error_of(answer: httpx.Response) -> dict[str, Any]:
    """What a refused request is told."""
    assert answer.status_code == 400, answer.text
    error: dict[str, Any] = answer.json()["error"]
    return error


WITHIN = {
    "messages": [{"role": "user", "prefix": True, "content": [{"type": "text", "text": "hello big world", "zzz": 1}]}],
    "stream": True,
    "stream_options": {"zzz": 1},
    "response_format": {"type": "text", "schema": {}},
}
PATHS = ["messages[0].content[0].zzz", "messages[0].prefix", "response_format.schema", "stream_options.zzz"]


def test_what_is_unknown_within_is_named_in_the_header(host: Served) -> None:
    answer = host.chat("echo", **WITHIN)
    assert (answer.status_code, answer.headers["x-modelhost-ignored"]) == (200, ", ".join(PATHS))


@pytest.mark.parametrize("path", PATHS)
def test_strict_refuses_what_is_unknown_within(strict: Served, path: str) -> None:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "x"}], "stream": True}
    body |= {name: WITHIN[name] for name in WITHIN if path.startswith(name)}
    error = error_of(strict.chat("echo", **body))
    assert (error["code"], error["param"] in PATHS, error["param"].split("[")[0].split(".")[0] in path) == (
        "unknown_parameter",
        True,
        True,
    )


def test_an_sdks_own_dump_of_an_answer_is_a_past_message_that_nobody_minds(strict: Served) -> None:
    messages: list[Any] = [{"role": "user", "content": "hello"}]
    with openai.OpenAI(base_url=f"{strict.url}/v1", api_key="none", max_retries=0) as client:
        for _ in range(2):
            answer = client.chat.completions.create(model="echo", messages=messages)
            messages += [answer.choices[0].message.model_dump(), {"role": "user", "content": "and again"}]
    assert {"annotations", "audio", "refusal", "function_call"} <= messages[1].keys()
    assert answer.choices[0].message.content == "and again "


def test_what_was_said_in_sound_elsewhere_is_remembered_by_its_words(host: Served) -> None:
    audio = {"id": "audio_1", "data": "aGk=", "expires_at": 1, "transcript": "spoken words"}
    past = {"role": "assistant", "content": None, "audio": audio}
    found = host.client.post("/tokenize", json={"model": "echo", "messages": [past]}).json()
    assert bytes(found["tokens"]) == b"assistant: spoken words\n"
    past = {"role": "assistant", "content": None, "audio": {"id": "audio_1"}}
    assert error_of(host.client.post("/tokenize", json={"model": "echo", "messages": [past]}))["param"] == "messages[0].audio"


def test_a_past_function_call_is_refused_and_not_lost(host: Served) -> None:
    past = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
    error = error_of(host.chat("echo", messages=[past, {"role": "user", "content": "x"}]))
    assert error["param"] == "messages[0].function_call"
    assert "tool_calls" in error["message"]


@pytest.mark.parametrize("name", GENERATING)
def test_another_servers_field_is_refused_with_what_to_send_here_or_asks_for_nothing(host: Served, name: str) -> None:
    error = error_of(host.chat("echo", **{name: "something"}))
    assert (error["param"], error["code"]) == (name, "unsupported")
    assert GENERATING[name].way in error["message"]
    answer = host.chat("echo", **{name: GENERATING[name].off[0]})
    assert answer.status_code == 200
    assert "x-modelhost-ignored" not in answer.headers


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/generate"])
def test_every_route_that_generates_knows_the_others_fields(host: Served, path: str) -> None:
    assert error_of(host.client.post(path, json={"model": "echo", "prompt": "x", "min_tokens": 3}))["param"] == "min_tokens"


@pytest.mark.parametrize("name", EMBEDDING)
def test_other_servers_fields_of_embeddings_are_refused_too(host: Served, name: str) -> None:
    body = {"model": "echo", "input": "x", name: "something"}
    error = error_of(host.client.post("/v1/embeddings", json=body))
    assert (error["param"], EMBEDDING[name].way in error["message"]) == (name, True)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"max_tokens": -1}, "hello big world "),
        ({"max_completion_tokens": -1}, "hello big world "),
        ({"max_tokens": 2.0}, "hello big "),
        ({"max_new_tokens": 2}, "hello big "),
        ({"n_predict": 1}, "hello "),
        ({"n_predict": -1}, "hello big world "),
        ({"seed": -1, "top_k": -1}, "hello big world "),
        ({"top_k": 40.0, "seed": 7.0}, "hello big world "),
        ({"functions": [{"name": "f"}], "function_call": "none"}, "hello big world "),
        ({"audio": {"voice": "alloy", "format": "wav"}, "modalities": ["text"]}, "hello big world "),
        ({"stop": [f"keyword {number}" for number in range(10_000)]}, "hello big world "),
    ],
)
def test_values_that_ask_for_nothing_are_taken(host: Served, settings: dict[str, Any], said: str) -> None:
    answer = host.chat("echo", **settings)
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"] == said
    assert "x-modelhost-ignored" not in answer.headers


def test_a_completion_without_a_limit_is_longer_than_the_usual_sixteen_tokens(host: Served) -> None:
    body = {"model": "echo", "prompt": "word " * 40}
    usual = host.client.post("/v1/completions", json=body).json()["choices"][0]
    whole = host.client.post("/v1/completions", json={**body, "max_tokens": -1}).json()["choices"][0]
    assert (len(usual["text"].split()), usual["finish_reason"]) == (16, "length")
    assert (len(whole["text"].split()), whole["finish_reason"]) == (40, "stop")


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_no_tokens_at_all_is_no_limit_to_ask_for(host: Served, name: str) -> None:
    error = error_of(host.chat("echo", **{name: 0}))
    assert (error["param"], "-1" in error["message"]) == (name, True)


@pytest.mark.parametrize(("asked", "given"), [(-1, None), (0, 0), (7, 7), (None, None)])
def test_no_seed_is_asked_of_a_model_with_minus_one(asked: int | None, given: int | None) -> None:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "x"}], "seed": asked, "top_k": asked}
    wanted = read("ChatBody", body)[0].to_request(NO_MEDIA)
    assert (wanted.seed, wanted.top_k) == (given, 0 if asked == -1 else given)


def test_repetition_penalty_is_repeat_penalty() -> None:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "x"}], "repetition_penalty": 1.3}
    assert read("ChatBody", body)[0].to_request(NO_MEDIA).repeat_penalty == 1.3


def test_a_json_object_of_a_schema_is_asked_for_as_such() -> None:
    form = {"type": "json_object", "schema": {"type": "object"}}
    wanted = read("ChatBody", {"messages": [{"role": "user", "content": "x"}], "response_format": form})[0].to_request(NO_MEDIA)
    assert (wanted.response_format.kind, wanted.response_format.schema) == ("json_schema", {"type": "object"})


@pytest.mark.parametrize(
    ("settings", "param", "allowed"),
    [
        ({"messages": [{"role": "function", "content": "x"}]}, "messages[0].role", ["developer", "tool", "user"]),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "messages[0].content[0].type", ["image_url", "text"]),
        ({"tool_choice": "function"}, "tool_choice", ["auto", "none", "required"]),
        ({"reasoning_effort": "lots"}, "reasoning_effort", ["none", "low", "max"]),
        ({"response_format": {"type": "xml"}}, "response_format.type", ["json_object", "json_schema", "text"]),
    ],
)
def test_who_gives_another_value_is_told_those_there_are(
    host: Served, settings: dict[str, Any], param: str, allowed: list[str]
) -> None:
    error = error_of(host.chat("echo", **settings))
    assert error["param"] == param
    assert all(repr(value) in error["message"] for value in allowed)


def test_every_choice_of_every_body_is_listed_when_another_is_given() -> None:
    for name in TYPES:
        for build, _, kind in places(name):
            for field in kind.fields:
                parts = getattr(field.type, "types", (field.type,))
                allowed = [value for part in parts if isinstance(part, inspect.LiteralType) for value in part.values]
                if allowed and not any(isinstance(part, inspect.StrType) for part in parts):
                    with pytest.raises(BadInputError) as refused:
                        read(name, build({**_minimal(kind), field.encode_name: "zzz"}))
                    assert all(repr(str(value)) in refused.value.message for value in allowed)
