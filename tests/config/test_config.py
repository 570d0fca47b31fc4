"""The configuration: where it is found, what goes on top of it, and what its errors say."""

import os
import string
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st
from modelhost.access.keys import Keys
from modelhost.config import Config, Loaded, load_config
from modelhost.contract.errors import ConfigError, UnsupportedError
from modelhost.contract.log import Log, silent
from modelhost.contract.types import ABILITIES
from modelhost.host import ModelHost
from modelhost.planning import Plan, wanted_plugins
from modelhost.plugins.discovery import Plugin

ECHO = '[models.echo]\nplugin = "echo"\n'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, with an empty user's folder and nothing of ours in the environment."""
    for name in os.environ:
        if name.startswith("MODELHOST_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


def load(text: str, environ: Mapping[str, str] | None = None) -> Loaded:
    Path("modelhost.toml").write_text(text)
    return load_config(environ=environ or {})


def refusal(text: str, environ: Mapping[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load(text, environ)
    return caught.value.message


class TestWhereTheFileIsFound:
    @pytest.fixture
    def everywhere(self, folder: Path, tmp_path: Path) -> Path:
        (tmp_path / "user/modelhost").mkdir(parents=True)
        places = {"asked.toml": 1, "named.toml": 2, "modelhost.toml": 3, "../user/modelhost/modelhost.toml": 4}
        for name, port in places.items():
            (folder / name).write_text(f"[server]\nport = {port}\n")
        return folder

    def test_the_order_is_option_variable_working_directory_user_starter(self, everywhere: Path) -> None:
        environ = {"MODELHOST_CONFIG": "named.toml"}
        assert load_config("asked.toml", environ).config.server.port == 1
        assert load_config(None, environ).config.server.port == 2
        assert load_config(None, {}).config.server.port == 3
        Path("modelhost.toml").unlink()
        assert load_config(None, {}).config.server.port == 4
        Path("../user/modelhost/modelhost.toml").unlink()
        starter = load_config(None, {})
        assert starter.path is None
        assert starter.name == "the starter configuration"
        assert starter.config.models

    def test_the_environment_is_the_default_for_the_environment(self, everywhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MODELHOST_CONFIG", "named.toml")
        assert load_config().config.server.port == 2

    @pytest.mark.parametrize("missing", ["nowhere.toml", "."])
    def test_a_named_file_that_is_not_one_is_refused_with_who_named_it(self, missing: str) -> None:
        with pytest.raises(ConfigError, match=f"--config names {missing}, which is not a file"):
            load_config(missing, {})
        with pytest.raises(ConfigError, match=f"MODELHOST_CONFIG names {missing}, which is not a file"):
            load_config(None, {"MODELHOST_CONFIG": missing})

    def test_an_empty_variable_names_no_file(self, everywhere: Path) -> None:
        assert load_config(None, {"MODELHOST_CONFIG": ""}).config.server.port == 3

    def test_the_path_is_absolute(self, everywhere: Path) -> None:
        assert load_config("asked.toml", {}).path == everywhere / "asked.toml"


class TestInclude:
    def test_a_pattern_brings_every_match_and_a_model_knows_its_file(self, folder: Path) -> None:
        (folder / "more").mkdir()
        for name in "ab":
            (folder / f"more/{name}.toml").write_text(f'[models.{name}]\nplugin = "echo"\n')
        loaded = load('include = ["more/*.toml"]\n' + ECHO)
        assert set(loaded.config.models) == {"a", "b", "echo"}
        assert loaded.origins["a"] == folder / "more/a.toml"
        assert loaded.folder_of("a") == folder / "more"
        assert loaded.folder_of("echo") == folder

    def test_folders_may_be_patterns_too(self, folder: Path) -> None:
        for name in "ab":
            (folder / name).mkdir()
            (folder / name / "model.toml").write_text(f'[models.{name}]\nplugin = "echo"\n')
        assert set(load('include = ["*/model.toml"]').config.models) == {"a", "b"}

    def test_an_absolute_name_is_found(self, tmp_path: Path) -> None:
        (tmp_path / "far.toml").write_text(ECHO)
        assert set(load(f'include = ["{tmp_path}/far.toml"]').config.models) == {"echo"}
        assert set(load(f'include = ["{tmp_path}/f*.toml"]').config.models) == {"echo"}

    def test_a_name_above_the_folder_is_found(self, tmp_path: Path) -> None:
        (tmp_path / "above.toml").write_text(ECHO)
        assert set(load('include = ["../above.toml"]').config.models) == {"echo"}

    def test_a_pattern_may_match_nothing_or_the_file_itself(self) -> None:
        assert load('include = ["*.toml", "none/*.toml"]\n' + ECHO).config.models

    def test_a_name_that_is_not_there_is_refused(self, folder: Path) -> None:
        assert refusal('include = ["gone.toml"]') == f"{folder}/modelhost.toml: include names gone.toml, which is not there"

    @pytest.mark.parametrize("value", ['"a.toml"', "3", "[3]", "{}"])
    def test_only_a_list_of_names_will_do(self, value: str) -> None:
        assert refusal(f"include = {value}").endswith("modelhost.toml: include must be a list of file names")

    @pytest.mark.parametrize("name", ["", "/", "a\\u0000b"])
    def test_what_names_no_file_is_refused(self, name: str) -> None:
        assert "modelhost.toml: include names " in refusal(f'include = ["{name}"]')

    def test_the_including_file_wins_key_by_key(self, folder: Path) -> None:
        (folder / "base.toml").write_text('[server]\nport = 1\nlog_level = "debug"\n')
        server = load('include = ["base.toml"]\n[server]\nport = 2\n').config.server
        assert (server.port, server.log_level) == (2, "debug")

    def test_a_model_in_two_files_is_refused_with_both_files(self, folder: Path) -> None:
        (folder / "a.toml").write_text(ECHO)
        problem = refusal('include = ["a.toml"]\n' + ECHO)
        assert f"{folder}/a.toml" in problem
        assert f"{folder}/modelhost.toml" in problem
        assert "models.echo" in problem

    def test_a_model_in_two_included_files_is_refused_with_both_of_them(self, folder: Path) -> None:
        (folder / "a.toml").write_text(ECHO)
        (folder / "b.toml").write_text(ECHO)
        problem = refusal('include = ["a.toml", "b.toml"]\n')
        assert problem == f"{folder}/a.toml: models.echo is also defined in {folder}/b.toml; remove one"

    def test_files_that_include_each_other_are_refused(self, folder: Path) -> None:
        (folder / "a.toml").write_text('include = ["b.toml"]\n')
        (folder / "b.toml").write_text('include = ["a.toml"]\n')
        assert f"{folder}/b.toml: include names {folder}/a.toml" in refusal('include = ["a.toml"]')

    def test_an_error_in_an_included_file_names_that_file(self, folder: Path) -> None:
        (folder / "a.toml").write_text("oh = no = no\n")
        assert refusal('include = ["a.toml"]').startswith(f"{folder}/a.toml: not valid TOML: ")
        (folder / "a.toml").write_text(ECHO + "preload = 3\n")
        assert refusal('include = ["a.toml"]') == f"{folder}/a.toml: models.echo.preload: expected `bool`, got `int`"
        (folder / "a.toml").write_text(ECHO + "prelaod = true\n")
        assert refusal('include = ["a.toml"]').startswith(f"{folder}/a.toml: unknown key models.echo.prelaod; ")


class TestDefaults:
    def test_models_have_them_unless_they_say_otherwise(self) -> None:
        text = '[defaults.models]\npreload = true\ndownload = "never"\n' + ECHO + '[models.b]\nplugin = "echo"\npreload = false\n'
        models = load(text).config.models
        assert [(models[name].preload, models[name].download) for name in ("echo", "b")] == [(True, "never"), (False, "never")]

    @pytest.mark.parametrize("key", ["plugin", "options", "aliases"])
    def test_what_only_one_model_can_have_is_refused(self, key: str) -> None:
        assert f"modelhost.toml: unknown key defaults.models.{key}; " in refusal(f'[defaults.models]\n{key} = "x"\n')

    def test_a_wrong_value_is_blamed_on_the_defaults(self) -> None:
        problem = refusal('[defaults.models]\ndownload = "often"\n' + ECHO)
        assert problem.endswith("defaults.models.download: not a known value: 'often'; allowed: auto, pull, never")


class TestVariablesInValues:
    def test_they_are_replaced_wherever_strings_stand(self) -> None:
        text = ECHO + '[models.echo.options]\nprefix = "<${A}-${B_2}>"\nlist = ["${A}", { deep = "${A}" }]\nnumber = 3\n'
        options = load(text, {"A": "x", "B_2": "y"}).config.models["echo"].options
        assert options == {"prefix": "<x-y>", "list": ["x", {"deep": "x"}], "number": 3}

    def test_what_they_hold_is_not_replaced_again(self) -> None:
        assert load('[server]\nhost = "${A}"', {"A": "${B}"}).config.server.host == "${B}"

    @pytest.mark.parametrize(
        ("written", "meant"), [("$${A}", "${A}"), ("$A", "$A"), ("$", "$"), ("${}", "${}"), ("${a b}", "${a b}")]
    )
    def test_what_is_escaped_or_no_reference_stays(self, written: str, meant: str) -> None:
        assert load(f'[server]\nhost = "{written}"', {"A": "no"}).config.server.host == meant

    def test_one_that_is_not_set_is_named_with_file_and_key(self, folder: Path) -> None:
        problem = refusal(ECHO + '[models.echo.options]\nprefix = "${NOT_SET}"\n')
        assert problem.startswith(f"{folder}/modelhost.toml: models.echo.options.prefix needs the environment variable NOT_SET")
        assert "server.host needs" in refusal('[server]\nhost = "${NOT_SET}"')
        assert "models needs" in refusal('models = "${NOT_SET}"')

    def test_one_that_is_set_but_empty_is_empty(self) -> None:
        assert load('[server]\nhost = "${A}"', {"A": ""}).config.server.host == ""

    def test_a_model_that_is_not_enabled_may_name_what_is_not_set(self) -> None:
        text = ECHO + 'enabled = false\n[models.echo.options]\nprefix = "${NOT_SET}"\n'
        assert not load(text).config.models["echo"].enabled

    def test_the_env_file_beside_the_configuration_is_read_and_the_environment_wins(self, folder: Path) -> None:
        (folder / "else").mkdir()
        (folder / "else/.env").write_text("A=file\nB='file too'\n# C=no\nEMPTY\n")
        (folder / ".env").write_text("A=not this one\n")
        (folder / "else/my.toml").write_text(ECHO + 'aliases = ["${A}"]\nenv = { B = "${B}" }\n')
        model = load_config("else/my.toml", {"A": "environment"}).config.models["echo"]
        assert model.aliases == ("environment",)
        assert model.env == {"B": "file too"}

    def test_an_env_file_that_is_no_text_is_refused_by_name(self, folder: Path) -> None:
        (folder / ".env").write_bytes(b"A=\xff\xfe\n")
        assert refusal(ECHO).startswith(f"{folder}/.env: cannot be read")

    def test_a_line_of_an_env_file_that_sets_nothing_is_refused_with_its_number(self, folder: Path) -> None:
        (folder / ".env").write_text("A=1\nB: 'x\nC=2\n")
        assert refusal(ECHO).startswith(f"{folder}/.env: line 2 is not NAME=value")


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("text", "key", "near", "allowed"),
        [
            (
                "sever = {}",
                "sever",
                "server",
                "include, server, defaults, speech, dialogue, cache, models, keys, extensions, routes",
            ),
            ("[server]\nprot = 1", "server.prot", "port", "host, port, "),
            ('[speech]\nformt = "wav"', "speech.formt", "format", "format, sample_rate"),
            ("[keys.me]\nscope = []", "keys.me.scope", "scopes", "key, file, sha256, scopes"),
            (ECHO + "alias = 1", "models.echo.alias", "aliases", "plugin, options, aliases, "),
            ("[defaults]\nmodel = {}", "defaults.model", "models", "models"),
            ("[defaults.models]\npreloads = 1", "defaults.models.preloads", "preload", "enabled, preload, "),
        ],
    )
    def test_an_unknown_key_comes_with_file_the_likely_one_and_those_allowed(
        self, folder: Path, text: str, key: str, near: str, allowed: str
    ) -> None:
        problem = refusal(text)
        assert problem.startswith(f"{folder}/modelhost.toml: unknown key {key}; did you mean '{near}'? allowed here: {allowed}")

    def test_no_likely_key_is_made_up(self) -> None:
        assert "did you mean" not in refusal("[server]\nzzzzzz = 1")

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ('[server]\nport = "80"', "server.port: expected `int`, got `str`"),
            ("[server]\nport = 65536", "server.port: expected `int` <= 65535"),
            ('[server]\nlog_level = "loud"', "server.log_level: not a known value: 'loud'; allowed: debug, info, warning, error"),
            ("server = 3", "server: expected a table, got `int`"),
            ("models = 3", "models: expected a table, got `int`"),
            ("models = [{}]", "models: expected a table, got `array`"),
            ("routes = 3", "routes: expected a table, got `int`"),
            ("defaults = 3", "defaults: expected a table, got `int`"),
            ("models.echo = 3", "models.echo: expected a table, got `int`"),
            ("models.echo = {}", "models.echo: missing `plugin`"),
            (ECHO + 'aliases = "x"', "models.echo.aliases: expected `array`, got `str`"),
            (ECHO + 'run = "ray"', "models.echo.run: not a known value: 'ray'; allowed: inline, process"),
            (ECHO + 'download = "x"', "models.echo.download: not a known value: 'x'; allowed: auto, pull, never"),
            (
                ECHO + 'abilities = ["stt"]',
                f"models.echo.abilities[0]: not a known value: 'stt'; allowed: {', '.join(ABILITIES)}",
            ),
            ('[models."a.b"]\nplugin = 3', "models.a.b.plugin: expected `str`, got `int`"),
            (
                '[models."two words"]\nplugin = "echo"',
                "models.two words: a name is letters, digits and . _ : / -, and starts with a letter or digit",
            ),
            ('[routes]\nstt = ["echo"]', f"routes.stt: not a known ability; allowed: {', '.join(ABILITIES)}"),
            ('[routes]\ngenerate = "echo"', "routes.generate: expected `array`, got `str`"),
        ],
    )
    def test_a_wrong_value_comes_with_file_key_and_what_is_allowed(self, folder: Path, text: str, problem: str) -> None:
        assert refusal(text) == f"{folder}/modelhost.toml: {problem}"

    def test_an_alias_that_is_taken_is_refused_with_its_owner(self) -> None:
        other = '[models.other]\nplugin = "echo"\n'
        assert "models.other.aliases: 'echo' is already a model" in refusal(ECHO + other + 'aliases = ["echo"]')
        problem = refusal(ECHO + 'aliases = ["e"]\n' + other + 'aliases = ["e"]')
        assert problem.endswith("models.other.aliases: 'e' is already an alias of echo")

    def test_a_route_to_a_model_that_is_not_there_is_refused_with_those_that_are(self) -> None:
        problem = refusal(ECHO + 'aliases = ["e"]\n[routes]\ngenerate = ["e", "gone"]\n')
        assert problem.endswith("routes.generate: there is no model 'gone'; there are: echo, e")

    @pytest.mark.parametrize(
        "origin", ["chat.example.com", "https://chat.example.com/app", "https://", "https://a b", "chat.example.com:8080"]
    )
    def test_what_no_browser_sends_as_an_origin_is_refused(self, origin: str) -> None:
        assert f"server.cors_origins: {origin!r} is no page's origin" in refusal(f"[server]\ncors_origins = [{origin!r}]")

    @pytest.mark.parametrize("origin", ["*", "null", "https://chat.example.com", "http://localhost:3000/", "app://obsidian.md"])
    def test_what_browsers_send_as_an_origin_is_taken(self, origin: str) -> None:
        assert load(f"[server]\ncors_origins = [{origin!r}]").config.server.cors_origins == (origin,)

    @pytest.mark.parametrize("host", ["https://x", "x/y", "x:8000", "", "two words", "a.*"])
    def test_what_is_no_name_of_a_host_is_refused(self, host: str) -> None:
        assert f"server.allowed_hosts: {host!r} is no name" in refusal(f"[server]\nallowed_hosts = [{host!r}]")

    @pytest.mark.parametrize("host", ["*", "*.lan", "models.example.com", "10.0.0.1", "[::1]", "my_box"])
    def test_what_is_a_name_of_a_host_is_taken(self, host: str) -> None:
        assert load(f"[server]\nallowed_hosts = [{host!r}]").config.server.allowed_hosts == (host,)

    @pytest.mark.parametrize("text", [b"\xff\xfe", b"a = [" + b"[" * 5000, b"a = 1" + b"0" * 5000, b"= 1", b"a = 1\na = 2"])
    def test_a_file_that_is_no_toml_is_refused_by_name(self, folder: Path, text: bytes) -> None:
        (folder / "modelhost.toml").write_bytes(text)
        with pytest.raises(ConfigError, match=r"modelhost\.toml: not (valid TOML|UTF-8)"):
            load_config(environ={})

    def test_a_file_that_cannot_be_read_is_refused_by_name(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (folder / "modelhost.toml").write_text(ECHO)

        def denied(*_: Any, **__: Any) -> str:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", denied)
        with pytest.raises(ConfigError, match=r"modelhost\.toml: cannot be read: Permission denied"):
            load_config(environ={})

    def test_a_route_of_the_starter_to_a_model_that_is_not_installed_is_passed_over(self) -> None:
        starter = load_config(None, {})
        none = {key: Plugin(name=key[0], python=key[1], problem="the plugin is not installed") for key in wanted_plugins(starter)}
        host = ModelHost(Plan.with_plugins(starter, Keys(()), none), Log(silent))
        with pytest.raises(UnsupportedError, match="no model here can embed"):
            host.router.candidates("embed", None)

    def test_a_file_of_a_windows_editor_is_read(self, folder: Path) -> None:
        (folder / "modelhost.toml").write_bytes(b"\xef\xbb\xbf" + ECHO.replace("\n", "\r\n").encode())
        (folder / ".env").write_bytes(b"\xef\xbb\xbfA=1\r\n")
        assert list(load_config(environ={}).config.models) == ["echo"]

    def test_a_folder_in_the_files_place_is_refused_and_not_passed_over(self, folder: Path) -> None:
        (folder / "modelhost.toml").mkdir()
        with pytest.raises(ConfigError, match=r"modelhost\.toml is a folder, not a file; containers make"):
            load_config(environ={})

    def test_an_option_that_stands_beside_the_hosts_keys_is_told_where_it_belongs(self) -> None:
        assert "unknown key models.echo.source; the plugin's options stand below [models.echo.options]" in refusal(
            ECHO + 'source = "x.gguf"'
        )

    def test_a_name_with_a_dot_and_without_quotes_is_told_of_quotes(self) -> None:
        assert '[models."qwen2.5"]' in refusal('[models.qwen2.5]\nplugin = "echo"')


def toml(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return '"' + "".join(c if c in SAFE else f"\\U{ord(c):08x}" for c in value) + '"'
        case dict():
            return "{" + ", ".join(f"{toml(key)} = {toml(inner)}" for key, inner in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(toml, value)) + "]"
        case _:
            return repr(value) if isinstance(value, (int, float)) else value.isoformat()


SAFE = frozenset(string.ascii_letters + string.digits + " -_.:/${}[]*?~")
KNOWN = ["server", "models", "defaults", "routes", "include"]
KNOWN += list(Config.__annotations__["server"].__struct_fields__)
KNOWN += ["plugin", "options", "aliases", "enabled", "preload", "env", "download", "run", "devices", *ABILITIES, "echo", "models"]
words = st.sampled_from([*KNOWN, "*.toml", "modelhost.toml", "${A}", "${B}", "process", "auto"]) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="/"), max_size=5
)
scalars = words | st.booleans() | st.integers() | st.floats() | st.dates() | st.times() | st.datetimes()
tables = st.recursive(
    st.dictionaries(words, scalars, max_size=3),
    lambda inner: st.dictionaries(words, inner | st.lists(inner | scalars, max_size=3) | scalars, max_size=4),
    max_leaves=12,
)
sections = st.fixed_dictionaries(
    {},
    optional={
        key: tables | scalars | st.lists(words, max_size=2) for key in ("server", "models", "defaults", "routes", "include")
    },
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    raw=sections | tables,
    environ=st.dictionaries(
        st.sampled_from(
            ["A", "MODELHOST_SERVER__PORT", "MODELHOST_MODELS__ECHO__PLUGIN", "MODELHOST_ROUTES__EMBED", "MODELHOST_X"]
        ),
        words | st.sampled_from(["1", "[[", "{}", "1979-05-27"]),
        max_size=3,
    ),
)
@example(raw={"models": [{"a": 1}]}, environ={})
@example(raw={"models": {"a": {"plugin": "x", "options": {"a": float("nan")}}}}, environ={})
@example(raw={"server": {"hold_status": 10**400}}, environ={})
@example(raw={"server": 1, "models": "${A}"}, environ={"MODELHOST_SERVER__PORT": "1"})
def test_whatever_stands_in_the_file_it_loads_or_is_a_config_error(raw: dict[str, Any], environ: dict[str, str]) -> None:
    text = "\n".join(f"{toml(key)} = {toml(value)}" for key, value in raw.items())
    tomllib.loads(text)
    Path("modelhost.toml").write_text(text, encoding="utf-8")
    try:
        loaded = load_config(environ=environ)
    except ConfigError as error:
        # Each names the file, or the variable where that is to blame.
        assert ".toml: " in error.message or "include" in raw or "MODELHOST_" in error.message  # noqa: PT017
    else:
        assert msgspec.convert(msgspec.to_builtins(loaded.config), Config).server == loaded.config.server


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60) | st.text(alphabet="[]{}=\"'.\n#,ab1_$ \\", max_size=60).map(str.encode))
def test_whatever_bytes_the_file_holds_it_loads_or_is_a_config_error(content: bytes) -> None:
    Path("modelhost.toml").write_bytes(content)
    try:
        load_config(environ={})
    except ConfigError as error:
        assert "modelhost.toml: " in error.message  # noqa: PT017  # either is right
