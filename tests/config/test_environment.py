"""Variables that set keys of the configuration: what they reach, what they may hold, and who is blamed for a mistake."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from modelhost.config import Loaded, load_config
from modelhost.config.environment import override
from modelhost.config.schema import TABLES, Config, Table
from modelhost.contract.errors import ConfigError
from modelhost.contract.structs import literals
from msgspec.structs import fields

ECHO = '[models.echo]\nplugin = "echo"\n'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, with an empty user's folder and nothing of ours in the environment."""
    for name in os.environ:
        if name.startswith("MODELHOST_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(text: str, environ: Mapping[str, str]) -> Loaded:
    Path("modelhost.toml").write_text(text)
    return load_config(environ=environ)


def refusal(variable: str, value: str, text: str = ECHO) -> str:
    with pytest.raises(ConfigError) as caught:
        load(text, {variable: value})
    return caught.value.message


def test_they_override_the_file_with_types() -> None:
    environ = {
        "MODELHOST_SERVER__PORT": "9000",
        "MODELHOST_SERVER__LOCAL_ONLY": "true",
        "MODELHOST_SERVER__HOST": "::1",
        "MODELHOST_ROUTES__GENERATE": '["echo"]',
        "MODELHOST_MODELS__ECHO__OPTIONS__PREFIX": "said: ",
        "MODELHOST_DEFAULTS__MODELS__PRELOAD": "true",
    }
    loaded = load("[server]\nport = 1\n" + ECHO, environ)
    assert loaded.warnings == ()
    server, model = loaded.config.server, loaded.config.models["echo"]
    assert (server.port, server.local_only, server.host) == (9000, True, "::1")
    assert loaded.config.routes == {"generate": ("echo",)}
    assert (model.options, model.preload) == ({"prefix": "said: "}, True)


def test_what_is_no_table_of_the_file_is_read_before_any_variable() -> None:
    assert {*Config.__struct_fields__} - TABLES.keys() == {"include"}


TRIED = ("true", "1", "16000", "wav", "/path", "http://collector", "a" * 64, "text", "[]", "{}")
"""Of these some value is right for any key that has no fixed set of them."""


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.heading)
def test_every_key_of_every_table_of_the_file_takes_one(table: Table) -> None:
    """No list of tables is kept for it: a table that is added to `Config` is reached by variables as it is."""
    entry = ["echo"] if table.kind and table.entries else []
    keys = {key.name: key.type for key in fields(table.kind)} if table.kind else {next(literals(table.names), "x"): None}
    for key, kind in keys.items():
        variable = "MODELHOST_" + "__".join([table.name, *entry, key]).upper()
        for text in (*literals(kind), *TRIED):
            raw: dict[str, Any] = {table.name: {"echo": {}} if entry else {}}
            with contextlib.suppress(ConfigError):
                assert override(raw, {variable: text}) == []
                assert key in (raw[table.name]["echo"] if entry else raw[table.name])
                break
        else:
            pytest.fail(f"{variable} takes none of {TRIED}")


@pytest.mark.parametrize(
    ("written", "meant"), [("True", True), ("yes", True), ("1", True), ("ON", True), ("no", False), ("0", False)]
)
def test_a_switch_is_written_as_shells_and_containers_write_it(written: str, meant: bool) -> None:
    assert load(ECHO, {"MODELHOST_SERVER__LOCAL_ONLY": written}).config.server.local_only is meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [("*", ("*",)), ("https://a, https://b", ("https://a", "https://b")), ('["https://a"]', ("https://a",)), ("[]", ())],
)
def test_a_list_may_be_written_with_commas(written: str, meant: tuple[str, ...]) -> None:
    assert load(ECHO, {"MODELHOST_SERVER__CORS_ORIGINS": written}).config.server.cors_origins == meant


def test_text_that_looks_like_a_number_is_text_where_the_key_is() -> None:
    assert load(ECHO, {"MODELHOST_KEYS__ME__KEY": "1234567890123456"}).config.keys["me"].key == "1234567890123456"


@pytest.mark.parametrize("variable", ["MODELHOST_MODELS__MY_ECHO_2_5__PRELOAD", "MODELHOST_MODELS__MY-ECHO-2.5__PRELOAD"])
def test_they_reach_models_whose_names_a_shell_does_not_allow(variable: str) -> None:
    loaded = load('[models."My-Echo-2.5"]\nplugin = "echo"\n', {variable: "true"})
    assert loaded.config.models["My-Echo-2.5"].preload
    assert list(loaded.config.models) == ["My-Echo-2.5"]


def test_one_that_may_mean_two_models_is_refused_with_both() -> None:
    both = '[models."a.b"]\nplugin = "echo"\n[models.a-b]\nplugin = "echo"\n'
    assert "may mean 'a.b' or 'a-b'" in refusal("MODELHOST_MODELS__A_B__PRELOAD", "true", both)


def test_they_can_make_a_model_that_no_file_has() -> None:
    environ = {"MODELHOST_MODELS__NEW__PLUGIN": "echo", "MODELHOST_MODELS__NEW__PRELOAD": "true"}
    loaded = load(ECHO, environ)
    assert loaded.warnings == ()
    assert loaded.config.models["new"].preload


@pytest.mark.parametrize("table", ["MODELS", "KEYS"])
def test_one_for_a_model_or_key_that_is_not_there_is_warned_of_and_changes_nothing(table: str) -> None:
    variable = f"MODELHOST_{table}__NOPE__{'PRELOAD' if table == 'MODELS' else 'SCOPES'}"
    loaded = load(ECHO, {variable: "true"})
    assert [warning.partition(" ")[0] for warning in loaded.warnings] == [variable]
    assert list(loaded.config.models) == ["echo"]
    assert not loaded.config.keys


def test_they_work_from_the_env_file_and_without_any_file(folder: Path) -> None:
    (folder / ".env").write_text("MODELHOST_SERVER__PORT=9001\n")
    assert load(ECHO, {}).config.server.port == 9001
    (folder / "modelhost.toml").unlink()
    assert load_config(environ={"MODELHOST_SERVER__PORT": "9002"}).config.server.port == 9002


@pytest.mark.parametrize("name", ["MODELHOST_PORT", "MODELHOST_SEVER__PORT", "MODELHOST_SERVER", "MODELHOST_"])
def test_one_that_names_no_key_is_warned_of_and_changes_nothing(name: str) -> None:
    loaded = load(ECHO, {name: "9000"})
    assert len(loaded.warnings) == 1
    assert loaded.warnings[0].startswith(f"{name} names no key")
    assert loaded.config.server.port == 8000


def test_one_that_is_empty_is_not_set_unless_its_key_may_be_empty() -> None:
    loaded = load("[server]\nport = 9\n" + ECHO, {"MODELHOST_SERVER__PORT": "", "MODELHOST_SERVER__ROOT_PATH": ""})
    assert loaded.config.server.port == 9
    assert loaded.warnings == ("MODELHOST_SERVER__PORT is empty and changes nothing",)


def test_those_that_are_no_keys_are_not_warned_of() -> None:
    assert load(ECHO, {"MODELHOST_URL": "http://x", "MODELHOST_CONFIG": "", "PATH": "x"}).warnings == ()


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("MODELHOST_SERVER__PORT", "abc", "expected `int`, got `str`"),
        ("MODELHOST_SERVER__PORT", "70000", "expected `int` <= 65535"),
        ("MODELHOST_SERVER__LOCAL_ONLY", "maybe", "expected `bool`, got `str`"),
        ("MODELHOST_SERVER__LOG_LEVEL", "loud", "allowed: debug, info, warning, error"),
        ("MODELHOST_SERVER__PROT", "1", "there is no key server.prot; did you mean 'port'? allowed here: host, "),
        ("MODELHOST_SERVER__", "1", "there is no key server.; "),
        ("MODELHOST_MODELS__ECHO__RUN", "ray", "allowed: inline, process"),
        ("MODELHOST_MODELS__ECHO__RUN__X", "1", "sets a key of run, which is not a table"),
        ("MODELHOST_ROUTES__STT", "echo", "there is no routes.stt; allowed here: transcribe, "),
        ("MODELHOST_DEFAULTS__MODELS__PRELOADS", "1", "did you mean 'preload'?"),
    ],
)
def test_a_mistake_names_the_variable_and_what_is_allowed(variable: str, value: str, problem: str) -> None:
    message = refusal(variable, value, ECHO + 'run = "process"\n')
    assert message.startswith(variable)
    assert problem in message


def test_the_starter_takes_them_too() -> None:
    assert load_config(environ={"MODELHOST_MODELS__WHISPER_TINY_EN__PRELOAD": "yes"}).config.models["whisper-tiny.en"].preload
