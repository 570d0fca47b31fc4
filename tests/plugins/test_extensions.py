"""Extensions: around every call, on the host's side, and the guide's example of one."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from serving import Serve, Served, clean_environment

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


class Diary(Extension[Options]):
    """Writes down its life, in a thread that may block, and asks a model for nobody."""

    def start(self):
        import os, threading

        self.file = os.environ["DIARY"]
        events = self.host.call("generate", "strict", ask("good morning"))
        said = "".join(event.text for event in events if isinstance(event, Delta))
        self.write(f"started {threading.current_thread() is threading.main_thread()} {said}")

    async def stop(self):
        self.write("stopped")

    def write(self, line):
        with open(self.file, "a") as file:
            file.write(line + "\\n")

    @hookimpl
    def app(self):
        async def application(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"dear diary"})

        return application


class Unfit(Diary):
    async def start(self):
        raise OSError("secret")


class Slow(Extension[Options]):
    def start(self):
        import threading

        threading.Event().wait()


def ask(text):
    return GenerateRequest(messages=(Message(role="user", content=(TextPart(text=text),)),))
'''


@pytest.fixture(scope="module")
def host(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Served:
    folder = planted(
        tmp_path_factory.mktemp("extensions"), a_polite="Polite", b_loud="Loud", web="Web", misspelt="Misspelt", gone="Gone"
    )
    return serve('[models.echo]\nplugin = "echo"\n[models.quiet]\nplugin = "echo"\n', env={"PYTHONPATH": str(folder)})


def planted(folder: Path, **extensions: str) -> Path:
    """Install a distribution with these extensions, without installing it."""
    examples = re.findall(r"^```python extension\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(examples) == 2
    (folder / "exts.py").write_text("".join(examples) + MORE)
    info = folder / "exts-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: exts\nVersion: 1.0\n")
    lines = [f"{name} = exts:{what}" for name, what in extensions.items()]
    (info / "entry_points.txt").write_text("[modelhost.extensions]\n" + "\n".join(lines) + "\n")
    return folder


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


MODELS = '[models.quiet]\nplugin = "echo"\n[models.strict]\nplugin = "echo"\noptions.prefix = "unsafe "\n'
TYPO = '[extensions.guard]\nmodel = "quiet"\nverdcit = "no"\n'
NOBODYS = '[extensions.guard]\nmodel = "quiet"\n[extensions.gard]\n'
PLAIN = '[extensions.guard]\nmodel = "quiet"\n[extensions.web]\npath = 1\n'


@pytest.fixture(scope="module")
def guarded(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Served:
    folder = planted(tmp_path_factory.mktemp("lives"), guard="Guard", diary="Diary", unfit="Unfit")
    config = MODELS + '[extensions.guard]\nmodel = "quiet"\n'
    return serve(config, env={"PYTHONPATH": str(folder), "DIARY": str(folder / "diary")})


def test_an_extension_asks_another_model_and_goes_around_its_own_question_no_more(guarded: Served) -> None:
    assert guarded.chat("strict", "fine").json()["choices"][0]["message"]["content"] == "unsafe fine "
    answer = guarded.chat("strict", "this is unsafe")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "guardrail")


def test_a_model_that_an_extension_asks_about_itself_is_a_circle(guarded: Served) -> None:
    assert guarded.chat("quiet").json()["error"]["code"] == "call_cycle"


def test_an_extension_logs_as_itself(guarded: Served) -> None:
    (line,) = (line for line in guarded.log if "guarding" in line)
    assert "guard" in line
    assert "quiet" in line


def test_what_cannot_start_is_set_aside_with_its_reason_and_its_application_with_it(guarded: Served) -> None:
    found = {entry["name"]: entry for entry in guarded.client.get("/v1/plugins").json()["extensions"]}
    assert (found["unfit"]["state"], found["diary"]["state"]) == ("quarantined", "active")
    assert "OSError at exts.py" in found["unfit"]["reason"]
    assert "secret" not in "".join(guarded.log)
    answer = guarded.client.get("/x/unfit/")
    assert (answer.status_code, "OSError" in answer.text) == (503, True)
    assert guarded.client.get("/x/diary/").text == "dear diary"


def test_what_takes_too_long_to_start_is_set_aside(serve: Serve, tmp_path: Path) -> None:
    host = serve(MODELS, env={"PYTHONPATH": str(planted(tmp_path, slow="Slow"))})
    (slow,) = host.client.get("/v1/plugins").json()["extensions"]
    assert (slow["state"], "longer than 10 s" in slow["reason"]) == ("quarantined", True)
    assert host.chat("quiet").status_code == 200


def test_an_extension_starts_before_the_first_request_and_stops_after_the_last(serve: Serve, tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    host = serve(MODELS, env={"PYTHONPATH": str(planted(tmp_path, diary="Diary")), "DIARY": str(diary)})
    assert diary.read_text() == "started False unsafe good morning \n"
    host.stop()
    assert diary.read_text().splitlines()[1:] == ["stopped"]


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (TYPO, "extensions.guard: unknown option 'verdcit'; did you mean 'verdict'?"),
        ("[extensions.guard]\nmodel = 1\n", "extensions.guard.model: Expected `str`, got `int`"),
        ("", "extensions.guard: the option 'model' is missing"),
        (NOBODYS, "extensions.gard: no extension of that name is installed; installed are: guard, web"),
        (PLAIN, "extensions.web: it takes no options; path cannot be set"),
    ],
)
def test_options_that_an_extension_does_not_take_keep_the_host_from_starting(tmp_path: Path, config: str, told: str) -> None:
    folder = planted(tmp_path, guard="Guard", web="Web")
    (folder / "modelhost.toml").write_text(MODELS + config)
    for command in (("config", "check"), ("serve", "--port", "0")):
        ended = run(folder, *command)
        assert ended.returncode == 2
        assert told in ended.stderr


def test_a_variable_overrides_an_extensions_option(tmp_path: Path) -> None:
    folder = planted(tmp_path, guard="Guard")
    (folder / "modelhost.toml").write_text(MODELS + '[extensions.guard]\nmodel = "quiet"\n')
    ended = run(folder, "config", "show", env={"MODELHOST_EXTENSIONS__GUARD__MODEL": "strict"})
    assert json.loads(ended.stdout)["extensions"] == {"guard": {"model": "strict"}}


def test_the_schema_has_the_options_of_extensions(tmp_path: Path) -> None:
    schema = json.loads(run(planted(tmp_path, guard="Guard", gone="Gone"), "config", "schema").stdout)
    own = schema["$defs"]["options of extension guard"]
    assert own["properties"]["verdict"] == {"type": "string", "default": "unsafe", "description": "The word by which it says no."}
    assert own["additionalProperties"] is False
    assert list(schema["$defs"]["Config"]["properties"]["extensions"]["properties"]) == ["guard"]


def run(folder: Path, *arguments: str, env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "modelhost", *arguments],
        cwd=folder,
        env={**clean_environment(folder), "PYTHONPATH": str(folder), **(env or {})},
        capture_output=True,
        text=True,
        timeout=60,
    )
