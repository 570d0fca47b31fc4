"""The command line, as somebody types it."""

import contextlib
import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from click.testing import CliRunner
from fake_plugins import GOOD, fake_plugin
from modelhost.cli import COMMANDS, cli
from modelhost.contract.types import ABILITIES
from serving import Serve, Served, clean_environment
from terminal import type_here

ECHO = '[models.echo]\nplugin = "echo"\n'
AWAY = (
    '[models.away]\nplugin = "openai_api"\noptions = { abilities = ["embed"], base_url = "http://127.0.0.1:9/v1", retries = 0 }\n'
)
Run = Callable[..., subprocess.CompletedProcess[str]]


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Type `modelhost …` in an empty folder, with nothing of this machine's configuration and no host running."""

    def typed(*arguments: str, config: str | None = None, said: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
        if config is not None:
            (tmp_path / "modelhost.toml").write_text(config)
        return subprocess.run(
            [sys.executable, "-m", "modelhost", *arguments],
            cwd=tmp_path,
            env={
                **clean_environment(tmp_path),
                "MODELHOST_SERVER__PORT": str(free_port()),
                "COLUMNS": "200",
                "FORCE_COLOR": "",
                **environ,
            },
            input=said,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return typed


@pytest.fixture
def here(tmp_path: Path) -> Run:
    """Do what `run` does in this process, where what counts is the answer: most of a short command's time is Python's start."""

    def typed(*arguments: str, config: str | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
        if config is not None:
            (tmp_path / "modelhost.toml").write_text(config)
        ended = type_here(tmp_path, *arguments, COLUMNS="200", **environ)
        ended.stdout = ended.stdout.encode("latin-1").decode()
        return ended

    return typed


def refusal(ended: subprocess.CompletedProcess[str], status: int) -> str:
    """Return the one line that a mistake is answered with."""
    assert ended.returncode == status, ended.stderr
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith("Error: ")
    return line.removeprefix("Error: ")


class TestHelp:
    def test_it_lists_every_command(self, run: Run) -> None:
        for option in ("--help", "-h"):
            ended = run(option)
            assert ended.returncode == 0
            assert all(re.search(rf"^  {name} +{re.escape(text)}$", ended.stdout, re.M) for name, (_, text) in COMMANDS.items())

    @pytest.mark.parametrize(
        "command", [(name,) for name in COMMANDS] + [("config", "check"), ("config", "show"), ("config", "schema")]
    )
    def test_every_command_has_its_own(self, command: tuple[str, ...]) -> None:
        ended = CliRunner().invoke(cli, [*command, "--help"])
        assert ended.exit_code == 0
        assert ended.output.startswith(f"Usage: cli {' '.join(command)} ")
        assert ended.output.partition("\n\n")[2].strip()

    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_option_of_a_command_says_what_it_is_for(self, command: str) -> None:
        with cli.make_context("modelhost", [command, "--help"], resilient_parsing=True) as context:
            found = cli.get_command(context, command)
        assert found
        assert not [param.name for param in found.params if param.param_type_name == "option" and not getattr(param, "help", "")]

    def test_the_version_is_that_of_the_distribution(self, run: Run) -> None:
        assert re.fullmatch(r"modelhost \d+\.\d+\.\d+\S*\n", run("--version").stdout)

    @pytest.mark.parametrize("typed", [["srve"], ["serve", "--nope"], ["serve", "--port", "x"], ["load"]])
    def test_what_is_mistyped_ends_with_status_2_and_no_traceback(self, run: Run, typed: list[str]) -> None:
        ended = run(*typed)
        assert ended.returncode == 2
        assert ended.stderr.splitlines()[-1].startswith("Error: ")
        assert "Traceback" not in ended.stderr


class TestConfigCheck:
    def test_a_right_file_is_said_to_be_right_with_its_models(self, run: Run, tmp_path: Path) -> None:
        ended = run("config", "check", "--strict", config=ECHO + '[models.off]\nplugin = "nowhere"\nenabled = false\n')
        assert (ended.returncode, ended.stdout) == (0, f"{tmp_path}/modelhost.toml is right: echo\n")
        assert ended.stderr == ""

    @pytest.mark.parametrize(
        ("config", "said"),
        [
            ("= nonsense", "not valid TOML"),
            ("[server]\nprot = 1", "unknown key server.prot; did you mean 'port'?"),
            (ECHO + "[models.echo.options]\npace = 'fast'", "models.echo.options.pace: Expected `float`, got `str`"),
            (ECHO + "[models.echo.options]\nshards = ['a']", "models.echo.options: unknown option 'shards'"),
        ],
    )
    def test_a_wrong_file_is_one_line_and_status_2(self, here: Run, tmp_path: Path, config: str, said: str) -> None:
        line = refusal(here("config", "check", config=config), 2)
        assert line.startswith(f"{tmp_path}/modelhost.toml: ")
        assert said in line, line

    @pytest.mark.parametrize(
        ("config", "said"),
        [
            ('[keys.z]\nfile = "~nosuchuser/key"', "keys.z.file: ~nosuchuser is nobody's home folder"),
            ('[keys.z]\nfile = "a\\u0000b"', "keys.z.file has a NUL character in it"),
            (
                '[models.q]\nplugin = "echo"\npython = "~nosuchuser/python"',
                "models.q.python: ~nosuchuser is nobody's home folder",
            ),
            ('[server]\ntls_cert = "~nosuchuser/a"\ntls_key = "b"', "~nosuchuser is nobody's home folder"),
            ('[models.q]\nplugin = "echo"\n[models.q.env]\nA = "b\\u0000"', "models.q.env.A has a NUL character in it"),
            ('[models.q]\nplugin = "echo"\n[models.q.env]\n"A\\u0000" = "b"', "models.q.env.A\\0 has a NUL character in it"),
            ('include = ["."]', "include names '.', which is neither a file name nor a pattern"),
            ('include = ["~nosuchuser/x"]', "include names ~nosuchuser/x, which is not there"),
        ],
    )
    def test_paths_that_cannot_be_are_one_line_too(self, here: Run, config: str, said: str) -> None:
        ended = here("config", "check", config=config)
        assert ended.returncode == 2
        assert said in ended.stderr
        assert "Traceback" not in ended.stderr

    @pytest.mark.parametrize("source", ["~nosuchuser/weights.gguf", "a" * 5000])
    def test_weights_that_cannot_be_are_not_there(self, here: Run, source: str) -> None:
        ended = here("config", "check", config=f'[models.q]\nplugin = "gguf_chat"\noptions = {{ source = "{source}" }}')
        assert ended.returncode == 1
        assert "is not on this machine" in ended.stderr

    def test_an_unknown_variable_is_a_warning(self, here: Run) -> None:
        ended = here("config", "check", config=ECHO, MODELHOST_PROT="1")
        assert ended.returncode == 0
        assert ended.stderr.startswith("Warning: MODELHOST_PROT names no key")

    @pytest.mark.parametrize(
        ("model", "said"),
        [
            ('plugin = "nowhere"', "plugin 'nowhere' is not installed"),
            (
                'plugin = "fake"\noptions = { source = "w.gguf" }',
                "w.gguf is not on this machine. To get it: check the path; it is relative to ",
            ),
            ('plugin = "echo"\ndevices = ["77"]', "models.m: devices: there is no GPU 77"),
        ],
    )
    def test_what_will_not_serve_is_told_with_a_status_that_says_how_much_it_matters(
        self, run: Run, tmp_path: Path, model: str, said: str
    ) -> None:
        environ = {"PYTHONPATH": str(fake_plugin(tmp_path / "site", "fake"))}
        ended = run("config", "check", config=f"[models.m]\n{model}\n{ECHO}", **environ)
        assert ended.returncode == 1
        (line,) = ended.stderr.splitlines()
        assert line.startswith("models.m: ")
        assert said in line, line
        assert ended.stdout.endswith("can be read, but 1 of its 2 models cannot be served\n")
        assert run("config", "check", "--strict", **environ).returncode == 2


class TestConfigShow:
    def test_it_shows_what_the_host_would_use(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "more.toml").write_text('[models.more]\nplugin = "echo"\n')
        ended = run(
            "config",
            "show",
            config='include = ["more.toml"]\n[defaults.models]\npreload = true\n[server]\nport = 1\nhost = "${WHERE}"\n',
            MODELHOST_SERVER__PORT="9000",
            WHERE="::1",
        )
        shown = json.loads(ended.stdout)
        assert (shown["server"]["port"], shown["server"]["host"]) == (9000, "::1")
        assert shown["models"]["more"]["preload"] is True
        assert ended.stderr == f"# {tmp_path}/modelhost.toml\n"

    def test_secrets_are_hidden_in_headers_queries_urls_and_variables(self, here: Run) -> None:
        config = """
[server]
tracing = "http://user:SECRET1@127.0.0.1:4318"
[models.hosted]
plugin = "echo"
[models.hosted.env]
PGPASSWORD = "SECRET2"
DATABASE_URL = "postgres://u:SECRET3@h/db"
HTTPS_PROXY = "http://u:SECRET4@proxy:3128"
OPENAI_APIKEY = "SECRET5"
ANYTHING = "sk-SECRET6"
[models.hosted.options]
base_url = "https://h/v1?api-version=2&sig=SECRET7"
headers = { Authorization = "Bearer SECRET8", Cookie = "session=SECRET9", X-Anything = "SECRET10" }
query = { code = "SECRET11", api-key = "SECRET12" }
"""
        ended = here("config", "show", config=config)
        assert "SECRET" not in ended.stdout + ended.stderr
        shown = json.loads(ended.stdout)
        assert shown["server"]["tracing"] == "http://…@127.0.0.1:4318"
        assert shown["models"]["hosted"]["options"]["base_url"] == "https://h/v1?api-version=2&sig=…"
        assert shown["models"]["hosted"]["env"]["HTTPS_PROXY"] == "http://…@proxy:3128"

    def test_secrets_are_hidden_and_nothing_else(self, here: Run) -> None:
        config = (
            '[models.monkey]\nplugin = "echo"\nenv = { HF_TOKEN = "s1", LANG = "C" }\n'
            '[models.monkey.options]\napi_key = "${A_KEY}"\nmax_tokens = 5\nbase_url = "http://x"\n'
            'password = ["s3"]\nkeys = { alice = "s4" }\nservers = [{ secret = "s5", name = "n" }]\n'
        )
        ended = here("config", "show", config=config, A_KEY="s2")
        assert not re.search(r"s[1-5]", ended.stdout)
        model = json.loads(ended.stdout)["models"]["monkey"]
        assert model["plugin"] == "echo"
        assert model["env"] == {"HF_TOKEN": "…", "LANG": "C"}
        assert model["options"] == {
            "api_key": "…",
            "max_tokens": 5,
            "base_url": "http://x",
            "password": ["…"],
            "keys": {"alice": "…"},
            "servers": [{"secret": "…", "name": "n"}],
        }


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("schema")
    command = [sys.executable, "-m", "modelhost", "config", "schema"]
    env = clean_environment(folder) | {"PYTHONPATH": str(fake_plugin(folder / "site", "fake"))}
    ended = subprocess.run(command, cwd=folder, env=env, capture_output=True, check=True)
    return dict(json.loads(ended.stdout))


class TestConfigSchema:
    def test_it_is_one(self, schema: dict[str, Any]) -> None:
        jsonschema.Draft202012Validator.check_schema(schema)

    def test_every_key_of_the_host_is_described(self, schema: dict[str, Any]) -> None:
        for kind in ("ServerConfig", "ModelConfig", "DefaultsConfig"):
            assert not [key for key, about in schema["$defs"][kind]["properties"].items() if not about.get("description")]

    @pytest.mark.parametrize(
        ("model", "right"),
        [
            ({"plugin": "echo"}, True),
            ({"plugin": "echo", "options": {"prefix": "x", "pace": 3, "fault": None}}, True),
            ({"plugin": "fake", "options": {"source": {"uri": "a"}, "size": 1}}, True),
            ({"plugin": "not_installed", "options": {"anything": 1}}, True),
            ({"plugin": "echo", "options": {"prefixx": "x"}}, False),
            ({"plugin": "echo", "options": {"size": 1}}, False),
            ({"plugin": "echo", "options": {"fault": "no such"}}, False),
            ({"plugin": "fake", "options": {"size": 0}}, False),
            ({"plugin": "echo", "download": "often"}, False),
            ({"plugin": "echo", "nope": 1}, False),
        ],
    )
    def test_it_accepts_what_the_host_would_and_refuses_the_rest(
        self, schema: dict[str, Any], model: dict[str, Any], right: bool
    ) -> None:
        assert jsonschema.Draft202012Validator(schema).is_valid({"models": {"m": model}}) is right


class TestDoctor:
    def test_a_healthy_host_has_status_0(self, run: Run) -> None:
        ended = run("doctor", config=ECHO)
        assert ended.returncode == 0, ended.stdout
        assert re.search(rf"^ok   plugin echo \S+: {', '.join(ABILITIES)}$", ended.stdout, re.M)
        assert re.search(r"^ok   configuration: ", ended.stdout, re.M)

    def test_a_model_without_weights_is_not_said_to_be_well_before_it_was_asked(self, here: Run) -> None:
        """What it needs may be elsewhere, where nobody answers."""
        ended = here("doctor", config=AWAY)
        tries = "(only its options were looked at; `modelhost doctor --model away` tries it)"
        assert (ended.returncode, ended.stdout.splitlines()[-1]) == (
            0,
            f"--   model away: embed {tries}",
        )
        tried = here("doctor", "--model", "away", config=AWAY)
        assert (tried.returncode, tried.stdout.splitlines()[-1]) == (
            1,
            "bad  model away: the upstream cannot be reached; is it running?",
        )

    @pytest.mark.parametrize(
        ("config", "said"),
        [
            ("[server]\nprot = 1", "bad  {folder}/modelhost.toml: unknown key server.prot; did you mean 'port'?"),
            (
                '[models.m]\nplugin = "nowhere"',
                "bad  models.m: plugin 'nowhere' is not installed",
            ),
            (
                '[models.m]\nplugin = "fake"\ndownload = "never"\noptions = { source = "hf:org/repo/w.gguf" }',
                "bad  models.m: hf:org/repo/w.gguf is not on this machine. To get it: hf download org/repo w.gguf",
            ),
            (
                '[models.m]\nplugin = "fake"\noptions = { source = "package:llm_tiny/w.gguf" }',
                "bad  models.m: package:llm_tiny/w.gguf is not on this machine. To get it: pip install llm-tiny",
            ),
            (
                '[models.m]\nplugin = "fake"\noptions = { size = 0 }',
                "bad  {folder}/modelhost.toml: models.m.options.size: Expected `int` >= 1",
            ),
        ],
    )
    def test_what_is_broken_has_status_1_and_says_what_to_type(self, run: Run, tmp_path: Path, config: str, said: str) -> None:
        site = fake_plugin(tmp_path / "site", "fake")
        ended = run("doctor", config=config, PYTHONPATH=str(site), HF_HOME=str(tmp_path / "hf"))
        assert ended.returncode == 1
        assert ended.stderr == ""
        assert said.format(folder=tmp_path) in ended.stdout

    def test_a_broken_plugin_and_a_broken_extension_are_named(self, run: Run, tmp_path: Path) -> None:
        site = fake_plugin(tmp_path / "site", "bad", "import sys; sys.exit(7)")
        fake_plugin(site, "worse", "raise OSError", distribution="worse", group="modelhost.extensions")
        ended = run("doctor", config=ECHO, PYTHONPATH=str(site))
        assert ended.returncode == 1
        assert "bad  plugin bad: the process that imported it exited with status 7 without an answer" in ended.stdout
        assert "bad  extension worse: OSError" in ended.stdout
        assert "--   model echo: " in ended.stdout

    def test_it_tries_a_model_out_when_asked(self, run: Run) -> None:
        ended = run("doctor", "--model", "echo", config=ECHO)
        assert ended.returncode == 0, ended.stdout
        for told in (
            "is loaded",
            "says: 'Say hello. '",
            "makes a vector of 8 numbers",
            r"speaks for \d+\.\d s",
            "hears in a second of silence: '.*'",
            "summarises: '.*'",
            r"cuts 'Hello\.' into 7 tokens",
        ):
            assert re.search(rf"^ok   model echo {told}$", ended.stdout, re.M), told

    def test_one_ability_that_fails_is_told_beside_those_that_work(self, run: Run) -> None:
        fails = (
            '[models.echo]\nplugin = "echo"\nabilities = ["generate", "embed"]\noptions = { fault = "raise", fault_after = 1 }\n'
        )
        ended = run("doctor", "--model", "echo", config=fails)
        assert ended.returncode == 1
        assert re.search("^bad  model echo: the backend failed", ended.stdout, re.M)
        assert re.search("^ok   model echo makes a vector", ended.stdout, re.M)

    def test_a_model_that_is_not_there_cannot_be_tried(self, here: Run) -> None:
        ended = here("doctor", "--model", "nope", config=ECHO)
        assert (ended.returncode, ended.stdout.splitlines()[-1]) == (
            1,
            "bad  model nope: there is no model 'nope'; there are: echo",
        )


def test_plugins_are_listed_with_the_reason_for_those_that_cannot_be_used(run: Run, tmp_path: Path) -> None:
    site = fake_plugin(tmp_path / "site", "bad", "raise ValueError")
    fake_plugin(site, "fake")
    ended = run("plugins", PYTHONPATH=str(site))
    assert ended.returncode == 0
    assert re.search(r"^bad +quarantined: importing plugin 'bad' failed \(ValueError at fake_bad\.py:1\)", ended.stdout, re.M)
    assert re.search(r"^fake +1\.2\.3 +generate, embed +Made up for a test\.", ended.stdout, re.M)
    assert re.search(r"^echo +\d", ended.stdout, re.M)


class TestWithoutAHost:
    @pytest.mark.parametrize("typed", [["models"], ["ps"], ["load", "echo"], ["stop", "echo"]])
    def test_a_command_that_needs_one_is_one_line(self, here: Run, typed: list[str]) -> None:
        told = refusal(here(*typed, config=ECHO), 1)
        assert re.fullmatch(r"no host answers at http://127\.0\.0\.1:\d+; start one with `modelhost serve`, or say .*", told)

    @pytest.mark.parametrize("typed", [["models"], ["chat", "hello"], ["chat", "hello", "--url", "nonsense"]])
    def test_a_named_one_that_does_not_answer_is_one_line(self, here: Run, typed: list[str]) -> None:
        url = f"http://127.0.0.1:{free_port()}"
        named = typed[-1] if "--url" in typed else url
        assert (
            refusal(here(*typed, config=ECHO, MODELHOST_URL=url), 1)
            == f"no host answers at {named if '://' in named else 'http://' + named}"
        )

    def test_chat_starts_one_of_its_own_and_takes_it_away(self, run: Run, tmp_path: Path) -> None:
        said = run("chat", "hello own host", "-m", "echo", config=ECHO)
        assert (said.returncode, said.stdout, said.stderr) == (0, "hello own host \n", "")
        assert processes_of(tmp_path) == []

    def test_chat_says_why_its_own_host_does_not_start(self, run: Run) -> None:
        ended = run("chat", "hello", config=ECHO + "[models.echo.options]\nnope = 1\n")
        assert ended.returncode == 1
        assert "models.echo.options: unknown option 'nope'" in ended.stderr
        assert "Traceback" not in ended.stderr


def processes_of(folder: Path) -> list[str]:
    """The processes that were started with a folder in their environment, where the system tells; else none."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if str(folder).encode() in environ.read_bytes():
                found.append(environ.parent.name)
    return found


@pytest.fixture(scope="module")
def host(serve: Serve) -> Served:
    return serve(ECHO + 'aliases = ["e"]\n[models."org/other"]\nplugin = "echo"\noptions = { load_fault = "not_ready" }\n')


class TestWithAHost:
    @pytest.fixture
    def typed(self, tmp_path: Path, host: Served) -> Run:
        def typed(*arguments: str, said: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
            environ = {"COLUMNS": "200", "MODELHOST_URL": host.url, **environ}
            return type_here(tmp_path, *arguments, said=said.encode(), **environ)

        return typed

    def test_a_model_is_listed_loaded_shown_and_stopped(self, typed: Run) -> None:
        ended = typed("models")
        assert ended.returncode == 0
        assert re.search(r"^echo +e +echo +.*voices +cold *$", ended.stdout, re.M)
        assert "org/other" in ended.stdout
        assert typed("load", "e").stdout == "echo is ready\n"
        assert re.search(r"^echo +ready +cpu +\d+ MB +0 +0", typed("ps").stdout, re.M)
        assert typed("ps", "--output", "echo").returncode == 0
        assert re.fullmatch(r"echo is cold; \d+ MB came free\n", typed("stop", "echo").stdout)
        assert "echo" not in typed("ps").stdout

    def test_what_is_no_terminal_gets_a_line_for_each_model_however_long(self, typed: Run) -> None:
        lines = typed("models", COLUMNS="20").stdout.splitlines()
        assert [line.split()[0] for line in lines] == ["MODEL", "echo", "org/other"]
        assert lines[1].split()[-1] == "cold"

    def test_programs_get_all_that_the_host_tells_as_json(self, typed: Run, host: Served) -> None:
        typed("load", "echo")
        assert json.loads(typed("models", "--json").stdout) == host.client.get("/v1/models").json()["data"]
        (worker,) = json.loads(typed("ps", "--json").stdout)
        assert (worker["id"], worker["pid"]) == ("echo", host.pid_of("echo"))
        typed("stop", "echo")
        assert typed("ps", "--json").stdout == "[]\n"

    def test_what_a_worker_printed_is_no_json(self, typed: Run) -> None:
        assert typed("ps", "--json", "--output", "echo").returncode == 2

    def test_chat_prints_the_answer(self, typed: Run) -> None:
        ended = typed("chat", "hello world", "-m", "echo")
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "hello world \n", "")
        assert typed("chat", "one two three", "-m", "echo", "--max-tokens", "2").stdout == "one two \n"

    def test_chat_takes_what_it_says_from_a_pipe(self, typed: Run) -> None:
        assert typed("chat", "-m", "echo", said="hello pipe\n").stdout == "hello pipe \n"

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["chat", "hello", "-m", "nope"], "there is no model 'nope'; there are: echo (e), org/other"),
            (["load", "nope"], "there is no model 'nope'; there are: echo (e), org/other"),
            (["stop", "nope"], "there is no model 'nope'; there are: echo (e), org/other"),
            (["ps", "--output", "nope"], "there is no model 'nope'; there are: echo (e), org/other"),
            (["load", "org/other"], "the script's model is not on this machine. To get it: modelhost pull script"),
            (["chat", "hello", "-m", "org/other"], "the script's model is not on this machine. To get it: modelhost pull script"),
        ],
    )
    def test_what_the_host_refuses_is_one_line(self, typed: Run, arguments: list[str], said: str) -> None:
        ended = typed(*arguments)
        assert refusal(ended, 1).endswith(said)

    def test_a_name_with_a_slash_is_a_name(self, typed: Run) -> None:
        assert typed("stop", "org/other").stdout.startswith("org/other is ")

    def test_the_host_of_the_configuration_is_used_without_being_named(self, here: Run, host: Served) -> None:
        ended = here("models", config=ECHO, MODELHOST_SERVER__PORT=host.url.rpartition(":")[2])
        assert ended.returncode == 0
        assert "org/other" in ended.stdout


class TestServe:
    def test_a_wrong_option_of_a_model_is_one_line_and_status_2(self, run: Run, tmp_path: Path) -> None:
        line = refusal(run("serve", config=ECHO + "[models.echo.options]\nprefixx = 1\n"), 2)
        assert line.startswith(
            f"{tmp_path}/modelhost.toml: models.echo.options: unknown option 'prefixx'; did you mean 'prefix'? "
        )

    def test_a_port_in_use_is_one_line_and_status_2(self, run: Run) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            line = refusal(run("serve", "--port", str(port), config=ECHO), 2)
        assert line.startswith(f"cannot listen on 127.0.0.1 port {port}: Address already in use; ")

    def test_an_address_that_is_not_here_is_one_line_and_status_2(self, run: Run) -> None:
        line = refusal(run("serve", config="[server]\nallow_unauthenticated = true\nhost = 'no.such.host.invalid'"), 2)
        assert line.startswith("cannot listen on no.such.host.invalid port ")

    def test_strict_does_not_start_without_the_weights(self, run: Run, tmp_path: Path) -> None:
        site = fake_plugin(tmp_path / "site", "fake", GOOD)
        config = '[models.m]\nplugin = "fake"\noptions = { source = "w.gguf" }\n'
        line = refusal(run("serve", "--strict", config=config, PYTHONPATH=str(site)), 2)
        where = f"check the path; it is relative to {tmp_path}, or write hf:org/repo/file"
        assert line == f"models.m: w.gguf is not on this machine. To get it: {where}"

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
    def test_an_address_others_can_reach_needs_to_be_allowed(self, here: Run, host: str) -> None:
        line = refusal(here("serve", "--host", host, config=ECHO), 2)
        assert line.startswith(f"server.host = '{host}' lets others use the models without a key; add one")

    @pytest.mark.parametrize("host", ["127.evil.example", "localhost.evil.example", "::1234"])
    def test_an_address_that_only_looks_like_this_machine_needs_to_be_allowed(self, here: Run, host: str) -> None:
        assert "lets others use the models" in refusal(here("serve", "--host", host, config=ECHO), 2)


def test_serve_reload_starts_again_when_the_file_changes_and_leaves_nothing_behind(tmp_path: Path) -> None:
    file = tmp_path / "modelhost.toml"
    file.write_text(ECHO)
    port = free_port()
    command = [sys.executable, "-m", "modelhost", "serve", "--reload", "--port", str(port)]
    with subprocess.Popen(command, cwd=tmp_path, env=clean_environment(tmp_path), stderr=subprocess.PIPE, text=True) as reloading:
        try:
            assert reloading.stderr is not None
            until = iter(reloading.stderr.readline, "")
            assert any("is serving" in line for line in until)
            file.write_text(ECHO.replace("echo]", "other]"))
            assert any("starting again" in line for line in until)
            assert any("is serving" in line for line in until)
            models = httpx.get(f"http://127.0.0.1:{port}/v1/models", trust_env=False).json()["data"]
            assert [model["id"] for model in models] == ["other"]
            file.write_text("[models.other\n")
            assert any("the host goes on as it was" in line for line in until)
            assert httpx.get(f"http://127.0.0.1:{port}/v1/models", trust_env=False).json()["data"] == models
            file.write_text(ECHO)
            assert any("is serving" in line for line in until)
            reloading.terminate()
            assert reloading.wait(30) == 0
        finally:
            reloading.kill()  # else a failure here would wait for it for ever
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
