"""Extensions: around every call, on the host's side, and the guide's example of one."""

import re
from pathlib import Path

import pytest
from serving import Serve, Served

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "write-a-plugin.md"

MORE = '''

from modelhost import BadInputError, Delta


class Loud:
    """Changes what comes back, and knows when it is over."""

    @hookimpl
    def around(self, ability, model, call):
        if ability != "generate" or model != "echo":
            return None

        async def loud(request, context):
            if "forbidden" in request.messages[-1].text:
                raise BadInputError("the guardrail says no", code="guardrail")
            async with aclosing(call(request, context)) as events:
                async for event in events:
                    yield replace(event, text=event.text.upper()) if isinstance(event, Delta) else event

        return loud


class Web:
    """Brings an application."""

    @hookimpl
    def app(self):
        async def application(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": scope["path"].encode()})

        return application


class Misspelt:
    @hookimpl
    def arround(self, ability, call):
        return None
'''


@pytest.fixture(scope="module")
def host(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Served:
    folder = tmp_path_factory.mktemp("extensions")
    match = re.search(r"^```python extension\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    assert match
    (folder / "exts.py").write_text(match[1] + MORE)
    info = folder / "exts-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: exts\nVersion: 1.0\n")
    lines = ["a_polite = exts:Polite", "b_loud = exts:Loud", "web = exts:Web", "misspelt = exts:Misspelt", "gone = exts:Gone"]
    (info / "entry_points.txt").write_text("[modelhost.extensions]\n" + "\n".join(lines) + "\n")
    return serve('[models.echo]\nplugin = "echo"\n[models.quiet]\nplugin = "echo"\n', env={"PYTHONPATH": str(folder)})


def test_an_extension_changes_what_a_model_answers_and_only_where_it_wants(host: Served) -> None:
    assert host.chat("echo").json()["choices"][0]["message"]["content"] == "HELLO BIG WORLD "
    assert host.chat("quiet").json()["choices"][0]["message"]["content"] == "hello big world "


def test_an_extension_can_refuse_with_an_error_of_its_own(host: Served) -> None:
    answer = host.chat("echo", "something forbidden")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "guardrail")


def test_broken_extensions_are_set_aside_with_their_reason(host: Served) -> None:
    found = {entry["name"]: entry for entry in host.client.get("/v1/plugins").json()["extensions"]}
    assert {name for name, entry in found.items() if entry["state"] == "active"} == {"a_polite", "b_loud", "web"}
    assert "arround" in found["misspelt"]["reason"]
    assert found["gone"]["reason"] == "AttributeError"


def test_an_extensions_application_is_mounted_at_its_name(host: Served) -> None:
    answer = host.client.get("/x/web/some/page")
    assert answer.status_code == 200
    assert answer.text.rstrip("/").endswith("/some/page")
    assert answer.headers["x-request-id"]
