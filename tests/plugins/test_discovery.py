"""Discovery and description of plugins, and how the bad ones are set aside."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from fake_plugins import GOOD, fake_plugin, isolated, put_on_path
from modelhost.config import load_config
from modelhost.contract.log import Log, silent
from modelhost.host import ModelHost
from modelhost.planning import Plan
from modelhost.plugins import discovery as plugins
from modelhost.plugins.discovery import Plugin, describe_all, installed
from modelhost.plugins.extensions import GROUP, Extensions
from modelhost.worker.describe import Description, OptionsReport

__all__ = ["isolated"]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for distributions, which this process and those it starts look into."""
    (tmp_path / "site").mkdir()
    put_on_path(monkeypatch, tmp_path / "site")
    return tmp_path / "site"


def described(*names: str, options: dict[str, Any] | None = None) -> dict[str, Plugin]:
    """Describe plugins, each for a model "m" with these options."""
    found = describe_all({(name, sys.executable): {"m": options or {}} for name in names})
    return {name: plugin for (name, _), plugin in found.items()}


def about(name: str, options: dict[str, Any] | None = None) -> Description:
    plugin = described(name, options=options)[name]
    assert plugin.description, plugin.problem
    return plugin.description


def report(options: dict[str, Any], name: str = "fake") -> OptionsReport:
    return about(name, options).models["m"]


def problem(name: str) -> str:
    plugin = described(name)[name]
    assert plugin.description is None
    assert plugin.problem
    return plugin.problem


class TestADescription:
    def test_it_says_what_the_plugin_is_without_importing_it_here(self, site: Path) -> None:
        fake_plugin(site, "fake")
        found = about("fake")
        assert (found.name, found.distribution, found.version) == ("fake", "modelhost-fake", "1.2.3")
        assert found.summary == "Made up for a test."
        assert found.hooks == ("generate", "embed")
        assert found.run == "process"
        assert "fake_fake" not in sys.modules

    def test_the_options_schema_has_the_docstrings_and_defaults_of_the_fields(self, site: Path) -> None:
        fake_plugin(site, "fake")
        schema = about("fake").options_schema
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["properties"]["greeting"] == {"type": "string", "default": "hello", "description": "Said first."}
        assert schema["properties"]["size"]["minimum"] == 1
        assert schema["properties"]["size"]["default"] == 3
        assert schema["additionalProperties"] is False
        valid = jsonschema.Draft202012Validator(schema).is_valid
        assert valid({"source": "a"})
        assert valid({"source": {"uri": "a", "sha256": "0" * 64}})
        assert not valid({"source": {"url": "a"}})
        assert not valid({"size": 0})
        assert not valid({"other": 1})

    def test_an_inherited_option_keeps_its_docstring(self) -> None:
        assert about("echo").options_schema["properties"]["pace"]["description"].startswith("Events a second")

    def test_the_sources_a_model_names_are_listed(self, site: Path) -> None:
        fake_plugin(site, "fake")
        (source,) = report({"source": {"uri": "w.gguf", "sha256": "0" * 64}}).sources
        assert (source.option, source.uri, source.sha256, source.path) == ("source", "w.gguf", "0" * 64, None)

    def test_every_model_of_a_plugin_has_a_report_of_its_own(self, site: Path) -> None:
        fake_plugin(site, "fake")
        asked = {("fake", sys.executable): {"good": {"size": 2}, "bad": {"size": "x"}}}
        plugin = describe_all(asked)["fake", sys.executable]
        assert plugin.description
        assert plugin.description.models["good"].problem is None
        assert plugin.description.models["bad"].problem

    def test_no_plugins_are_described_in_no_time(self) -> None:
        assert describe_all({}) == {}


class TestOptions:
    def test_an_unknown_one_is_refused_with_those_there_are(self, site: Path) -> None:
        fake_plugin(site, "fake")
        found = report({"greting": "x"}).problem
        assert (
            found == "unknown option 'greting'; did you mean 'greeting'? the plugin's options are: greeting, size, source, remote"
        )

    @pytest.mark.parametrize(
        ("options", "key", "problem"),
        [
            ({"size": "large"}, ".size", "Expected `int`, got `str`"),
            ({"size": 0}, ".size", "Expected `int` >= 1"),
            ({"source": 3}, ".source", "a source is a string, or a table"),
            ({"source": {"uri": "a", "sha256": "abc"}}, ".source", "sha256 must be 64"),
        ],
    )
    def test_a_bad_value_is_refused_with_its_key(self, site: Path, options: dict[str, Any], key: str, problem: str) -> None:
        fake_plugin(site, "fake")
        found = report(options)
        assert found.key == key
        assert found.problem
        assert found.problem.startswith(problem)

    def test_a_value_that_is_not_among_those_allowed_is_refused_with_them(self) -> None:
        key = ("whisper", sys.executable)
        description = describe_all({key: {"ears": {"source": "x", "compute_type": "int3"}}})[key].description
        assert description
        assert description.models["ears"].key == ".compute_type"
        assert str(description.models["ears"].problem).startswith("'int3' is not a known value; allowed: auto, int8, ")

    def test_the_operator_reads_file_model_key_and_problem(self, site: Path, tmp_path: Path) -> None:
        fake_plugin(site, "fake")
        loaded = configured(tmp_path, "size = 0")
        assert list(Plan.of(loaded).mistakes) == [f"{tmp_path}/modelhost.toml: models.m.options.size: Expected `int` >= 1"]

    def test_one_that_leaves_the_machine_is_kept_from_serving_by_local_only(self, site: Path, tmp_path: Path) -> None:
        fake_plugin(site, "fake")
        for server, remote, kept in [("true", "true", True), ("true", "false", False), ("false", "true", False)]:
            loaded = configured(tmp_path, f"remote = {remote}\n[server]\nlocal_only = {server}")
            (model,) = ModelHost.of(loaded, Log(silent)).pool
            assert bool(model.problem and "local_only" in model.problem) is kept


def configured(folder: Path, options: str) -> Any:
    (folder / "modelhost.toml").write_text(f'[models.m]\nplugin = "fake"\n[models.m.options]\n{options}\n')
    return load_config(folder / "modelhost.toml", {})


class TestQuarantine:
    @pytest.mark.parametrize(
        ("code", "reason"),
        [
            ("raise ValueError('secret')", "importing plugin 'bad' failed (ValueError at fake_bad.py:1)"),
            (
                "import no_such_runtime",
                "importing plugin 'bad' failed (ModuleNotFoundError: no module named 'no_such_runtime' at fake_bad.py:1)",
            ),
            ("this is no Python", "importing plugin 'bad' failed (SyntaxError at fake_bad.py:1)"),
            ("pass", "importing plugin 'bad' failed (AttributeError)"),
            ("import sys; sys.exit(7)", "the process that imported it exited with status 7 without an answer"),
            ("import sys; sys.exit()", "the process that imported it exited with status 0 without an answer"),
            ("import os; os._exit(5)", "the process that imported it exited with status 5 without an answer"),
            ("import ctypes; ctypes.string_at(0)", "the process that imported it was ended by SIGSEGV without an answer"),
            ("import os; os.abort()", "the process that imported it was ended by SIGABRT without an answer"),
            ("print('{}', flush=True); import os; os._exit(0)", "exited with status 0 without an answer"),
            ("Fake = 3", "fake_bad:Fake is not a subclass of modelhost.Backend"),
            ("class Fake: pass", "fake_bad:Fake is not a subclass of modelhost.Backend"),
            (GOOD.replace("    @hookimpl\n", ""), "Fake.embed is named like a hook but lacks @hookimpl"),
            (GOOD.replace("def embed", "def embedd"), "Fake.embedd is marked with @hookimpl, but the hooks are transcribe, "),
            (GOOD.partition("    @hookimpl")[0], "Fake implements no hook; the hooks are transcribe, "),
            (GOOD.replace("Backend[FakeOptions]", "Backend"), "Fake must subclass Backend[...] with its options in the brackets"),
            (GOOD.replace("    @classmethod", "    run = 'ray'\n\n    @classmethod"), "Fake.run is 'ray'; it must be one of"),
            (GOOD.replace("remote: bool", "remote: complex"), "options of type complex are not supported"),
            (GOOD.replace("remote: bool", "remote: 'Nowhere'"), "describing plugin 'bad' failed (NameError)"),
            (GOOD.replace("return options.remote", "return 1 / 0"), "describing plugin 'bad' failed (ZeroDivisionError)"),
        ],
    )
    def test_a_bad_plugin_is_set_aside_with_what_happened_and_the_good_one_stays(
        self, site: Path, code: str, reason: str
    ) -> None:
        fake_plugin(site, "bad", code)
        found = described("bad", "echo")
        assert found["bad"].description is None
        assert found["bad"].problem
        assert reason in found["bad"].problem
        assert "secret" not in found["bad"].problem
        assert found["echo"].description

    @pytest.mark.parametrize("code", ["import time; time.sleep(60)", "while True: pass"])
    def test_one_that_hangs_is_ended(self, site: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
        monkeypatch.setattr(plugins, "DESCRIBE_SECONDS", 0.3)
        fake_plugin(site, "bad", code)
        assert problem("bad") == "importing it took longer than 0.3 s"

    @pytest.mark.parametrize(
        "noise",
        [
            "print('noise')",
            "import os; os.write(1, b'noise'); os.system('echo more noise')",
            "import sys; sys.stdout.write('noise'); sys.stderr.write('x' * 200_000)",
            "import sys; sys.stdin.read()",
        ],
    )
    def test_what_one_prints_or_reads_spoils_nothing(self, site: Path, noise: str) -> None:
        fake_plugin(site, "noisy", f"{noise}\n{GOOD}")
        assert about("noisy").hooks == ("generate", "embed")

    def test_one_that_is_not_installed_is_said_to_be_missing_beside_those_that_are(self) -> None:
        assert problem("nowhere").startswith("plugin 'nowhere' is not installed; installed are: ")
        assert "echo" in problem("nowhere")

    def test_two_distributions_with_one_name_are_refused_with_both(self, site: Path) -> None:
        fake_plugin(site, "twice", distribution="first-dist", module="fake_first")
        fake_plugin(site, "twice", distribution="second-dist", module="fake_second")
        assert len(installed()["twice"]) == 2
        assert problem("twice") == "the distributions first-dist and second-dist both bring a plugin 'twice'; uninstall one"
        asked = [sys.executable, "-P", "-m", "modelhost.worker", "describe", "twice"]
        answer = subprocess.run(asked, input="{}", capture_output=True, text=True, check=False)
        assert "first-dist and second-dist both bring" in answer.stdout

    def test_an_interpreter_that_is_not_there_is_named(self) -> None:
        plugin = describe_all({("echo", "/nowhere/python"): {}})["echo", "/nowhere/python"]
        assert plugin.problem == "/nowhere/python cannot be started: No such file or directory"

    def test_an_interpreter_without_the_host_is_suspected_of_that(self, tmp_path: Path) -> None:
        python = tmp_path / "python"
        python.write_text("#!/bin/sh\nexit 1\n")
        python.chmod(0o755)
        plugin = describe_all({("echo", str(python)): {}})["echo", str(python)]
        assert plugin.problem
        assert plugin.problem.endswith(f"exited with status 1 without an answer; is modelhost installed for {python}?")

    def test_a_model_of_a_bad_plugin_says_why_and_others_serve(self, site: Path, tmp_path: Path) -> None:
        fake_plugin(site, "fake", "raise RuntimeError")
        loaded = configured(tmp_path, '[models.echo]\nplugin = "echo"')
        host = ModelHost.of(loaded, Log(silent))
        problems = {model.name: model.problem for model in host.pool}
        assert problems == {
            "m": "plugin 'fake' is quarantined: importing plugin 'fake' failed (RuntimeError at fake_fake.py:1)",
            "echo": None,
        }


def remembered(monkeypatch: pytest.MonkeyPatch, options: dict[str, Any] | None = None) -> bool:
    """Whether the plugin "fake" can be described without starting a process."""

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(1, "a process was started")

    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "Popen", fail)
        return described("fake", options=options)["fake"].description is not None


class TestMemory:
    def test_the_second_description_starts_no_process(self, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        fake_plugin(site, "fake")
        assert not remembered(monkeypatch)
        first = about("fake")
        assert remembered(monkeypatch)
        assert about("fake") == first

    def test_other_options_are_asked_about_anew(self, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        fake_plugin(site, "fake")
        about("fake", {"size": 2})
        assert remembered(monkeypatch, {"size": 2})
        assert not remembered(monkeypatch, {"size": 3})

    def test_a_change_of_the_code_is_noticed_in_a_module(self, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        fake_plugin(site, "fake")
        about("fake")
        (site / "fake_fake.py").write_text(GOOD.replace("Made up", "Made up again"))
        assert not remembered(monkeypatch)
        assert about("fake").summary == "Made up again for a test."

    def test_a_change_of_the_code_is_noticed_anywhere_in_a_package(self, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        package = site / "fake_package"
        package.mkdir()
        (package / "deep.py").write_text(GOOD)
        fake_plugin(site, "fake", module="fake_entry", target="Fake")
        entry = next(site.glob("*.dist-info")) / "entry_points.txt"
        entry.write_text("[modelhost.backends]\nfake = fake_package:Fake\n")
        (package / "__init__.py").write_text("from fake_package.deep import Fake\n")
        about("fake")
        assert remembered(monkeypatch)
        (package / "deep.py").write_text(GOOD.replace("Made up", "Made up again"))
        assert about("fake").summary == "Made up again for a test."

    def test_another_version_is_asked_about_anew(self, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        fake_plugin(site, "fake")
        about("fake")
        (info,) = site.glob("*.dist-info")
        (info / "METADATA").write_text((info / "METADATA").read_text().replace("1.2.3", "1.2.4"))
        assert not remembered(monkeypatch)

    def test_a_failure_is_not_kept(self, site: Path) -> None:
        fake_plugin(site, "fake", "import fake_missing\n" + GOOD)
        assert "fake_missing" in problem("fake")
        (site / "fake_missing.py").touch()
        assert about("fake")

    def test_a_damaged_one_is_replaced(self, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        fake_plugin(site, "fake")
        first = about("fake")
        (kept,) = tmp_path.glob("cache/modelhost/plugins/*.json")
        for damage in (b"", b"{", b"[]", b'{"name": 3}'):
            kept.write_bytes(damage)
            assert about("fake") == first
            assert remembered(monkeypatch)

    def test_a_package_of_weights_is_found_as_soon_as_it_is_installed(self, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        fake_plugin(site, "fake")
        options = {"source": "package:fake_weights/w.gguf"}
        assert report(options).sources[0].path is None
        assert not remembered(monkeypatch, options)
        (site / "fake_weights").mkdir()
        (site / "fake_weights/__init__.py").write_text("raise SystemExit\n")
        (site / "fake_weights/w.gguf").touch()
        assert report(options).sources[0].path == str(site / "fake_weights/w.gguf")
        assert remembered(monkeypatch, options)


EXTENSION = """
from modelhost import hookimpl

class Works:
    @hookimpl
    def around(self, ability, model, call):
        return None
"""


class TestExtensions:
    @pytest.mark.parametrize(
        ("code", "reason"),
        [
            ("raise ValueError('secret')", "ValueError"),
            ("import sys; sys.exit(3)", "SystemExit"),
            ("import no_such_module", "ModuleNotFoundError"),
            ("pass", "AttributeError"),
            (EXTENSION.replace("around", "arround"), "unknown hook 'arround'"),
            (EXTENSION.replace("ability, model", "ability, models"), "'models'"),
            (EXTENSION.replace("    @hookimpl", "    def __init__(self): 1 / 0\n\n    @hookimpl"), "ZeroDivisionError"),
            (EXTENSION + "    @hookimpl\n    def app(self):\n        raise KeyError('secret')\n", "KeyError"),
        ],
    )
    def test_a_broken_one_is_set_aside_by_name_and_the_others_load(self, site: Path, code: str, reason: str) -> None:
        fake_plugin(site, "a_works", EXTENSION, target="Works", group=GROUP)
        fake_plugin(site, "broken", code, target="Works", group=GROUP)
        fake_plugin(site, "z_works", EXTENSION, target="Works", group=GROUP)
        found = Extensions(Log(silent))
        assert found.names == ["a_works", "z_works"]
        assert found.broken.keys() == {"broken"}
        assert reason in found.broken["broken"]
        assert "secret" not in found.broken["broken"]

    def test_a_module_may_be_one_itself(self, site: Path) -> None:
        code = "from modelhost import hookimpl\n\n@hookimpl\ndef around(ability, call):\n    return None\n"
        fake_plugin(site, "module", code + "import sys\nitself = sys.modules[__name__]\n", target="itself", group=GROUP)
        assert Extensions(Log(silent)).names == ["module"]
