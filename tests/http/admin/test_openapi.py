"""The OpenAPI document is valid, complete and true: what it shows can be sent, and what comes back is as it says."""

import json
import subprocess
import sys
from typing import Any

import pytest
import schemathesis
from hypothesis import settings
from jsonschema import Draft202012Validator
from litestar.handlers import HTTPRouteHandler
from modelhost.http.app import DOCUMENT as API_DOCUMENT, ROUTES
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance
from serving import Serve, Served

DOCUMENT = API_DOCUMENT.value()
CONFIG = """
[models.echo]
plugin = "echo"
run = "inline"
aliases = ["chat", "smollm2-135m", "text-embedding-3-small", "piper", "whisper"]
"""
OPERATIONS = [(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods]


@pytest.fixture(scope="module")
def host(serve: Serve) -> Served:
    return serve(CONFIG)


def valid(value: Any, schema: dict[str, Any]) -> None:
    Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(value)


def test_every_route_is_in_the_document_and_says_what_it_is() -> None:
    shown = {(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods}
    for route in ROUTES:
        for path in sorted(route.paths) if isinstance(route, HTTPRouteHandler) and route.include_in_schema else ():
            plain = path.replace(":path}", "}").replace(":str}", "}")
            assert any(found == plain for found, _ in shown), path
    for path, method in OPERATIONS:
        operation = DOCUMENT["paths"][path][method]
        assert operation["summary"]
        assert operation["description"]
        assert operation["responses"]


def test_the_command_prints_the_same_document() -> None:
    printed = subprocess.run([sys.executable, "-m", "modelhost", "openapi"], capture_output=True, text=True, check=True)
    assert json.loads(printed.stdout) == json.loads(json.dumps(DOCUMENT))


def test_the_host_serves_it_and_a_reference_that_loads_nothing_from_elsewhere(host: Served) -> None:
    assert host.client.get("/openapi.json").json() == json.loads(json.dumps(DOCUMENT))
    page = host.client.get("/docs")
    assert "//" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for name in ("swagger.js", "swagger.css", "start.js"):
        assert f"docs/{name}" in page.text
        assert host.client.get(f"/docs/{name}").status_code == 200
    assert "dark-mode" in host.client.get("/docs/swagger.css").text
    assert host.client.get("/docs/..%2fserver.py").status_code == 404


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_examples_are_as_their_schemas_say_and_can_be_sent(host: Served, path: str, method: str) -> None:
    operation = DOCUMENT["paths"][path][method]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    for example in body.get("examples", {}).values():
        valid(example["value"], body["schema"])
        if "prompt_name" in example["value"]:  # which the echo has none of
            continue
        if "tokens" in example["value"]:  # those are of another model's vocabulary
            example = {"value": {**example["value"], "tokens": [104, 105]}}
        answer = host.client.request(method, path, json=example["value"])
        assert answer.status_code == 200, answer.text
        said = operation["responses"]["200"]["content"].get("application/json")
        if said and answer.headers["content-type"] == "application/json":
            valid(answer.json(), said["schema"])
    for response in operation["responses"].values():
        for content in response.get("content", {}).values():
            for example in content.get("examples", {}).values():
                valid(example["value"], content["schema"])


@pytest.mark.parametrize(
    ("path", "event"), [("/v1/chat/completions", "ChatCompletionChunk"), ("/v1/completions", "TextCompletion")]
)
def test_events_are_as_the_document_says_those_shown_and_those_that_come(host: Served, path: str, event: str) -> None:
    schema = {"$ref": f"#/components/schemas/{event}"}
    shown = DOCUMENT["paths"][path]["post"]["responses"]["200"]["content"]["text/event-stream"]["example"]
    body = {"model": "echo", "messages": [{"role": "user", "content": "hi"}], "prompt": "hi", "stream": True}
    sent = host.client.post(path, json={**body, "stream_options": {"include_usage": True}}).text
    for stream in (shown, sent):
        events = [line.removeprefix("data: ") for line in stream.splitlines() if line]
        assert events.pop() == "[DONE]"
        assert len(events) >= 2
        for one in events:
            valid(json.loads(one), schema)


schema = schemathesis.openapi.from_dict(DOCUMENT)


@schema.exclude(path_regex=r"^/(v1/plugins|metrics)$").parametrize()
@settings(max_examples=20)  # of each operation, beside the documents' own and those at the edges of each schema
def test_whatever_is_sent_the_answer_is_one_the_document_names(case: schemathesis.Case, host: Served) -> None:
    case.call_and_validate(
        base_url=host.url,
        checks=[not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance],
    )
