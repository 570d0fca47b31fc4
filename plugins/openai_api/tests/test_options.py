import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from modelhost.config import load_config
from modelhost.contract.backend import read_options
from modelhost_openai_api import OpenaiApiBackend, OpenaiApiOptions
from modelhost_openai_api.card import card_of


def options(**values):
    return read_options(OpenaiApiOptions, {"abilities": ["generate"], **values})


def test_importing_the_plugin_imports_no_http_client():
    code = "import sys, modelhost_openai_api; print({'httpx', 'stamina', 'tenacity'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    "wrong",
    [
        {"abilities": []},
        {"abilities": ["summarize"]},
        {"base_url": "api.example.com/v1"},
        {"base_url": "https://me:secret@example.com/v1"},
        {"base_url": "https://example.com/v1?api-version=1"},
        {"paths": {"chat": "no/slash"}},
        {"paths": {"generate": "/x"}},
        {"api_key": "two words"},
        {"headers": {"x-name": "line\r\nbreak"}},
        {"headers": {"two words": "x"}},
        {"features": ["live"]},
        {"features": ["word_timestamps"], "response_format": "json"},
        {"retries": -1},
        {"timeout": 0},
    ],
)
def test_what_cannot_work_is_refused(wrong):
    with pytest.raises(msgspec.ValidationError) as refused:
        options(**wrong)
    assert "secret" not in str(refused.value)


def test_abilities_must_be_named():
    with pytest.raises(msgspec.ValidationError, match="abilities"):
        read_options(OpenaiApiOptions, {})


@pytest.mark.parametrize(
    ("base_url", "leaves"),
    [
        ("https://api.openai.com/v1", True),
        ("http://192.168.1.5:8000/v1", True),
        ("http://localhost.example.com/v1", True),
        ("http://localhost:8000/v1", False),
        ("http://LOCALHOST:8000", False),
        ("http://127.0.0.1:8000/v1", False),
        ("http://127.9.9.9/v1", False),
        ("http://[::1]:8000/v1", False),
        ("http://0.0.0.0:8000/v1", True),
    ],
)
def test_requests_leave_the_machine_unless_the_upstream_is_on_it(base_url, leaves):
    assert OpenaiApiBackend.leaves_machine(options(base_url=base_url)) is leaves


def test_the_key_goes_where_the_upstream_wants_it():
    assert options().all_headers() == {}
    assert options(api_key="").all_headers() == {}
    assert options(api_key="k\n").all_headers() == {"authorization": "Bearer k"}
    assert options(api_key="k").all_headers() == {"authorization": "Bearer k"}
    azure = options(api_key="k", api_key_header="api-key", headers={"x-team": "blue"})
    assert azure.all_headers() == {"api-key": "k", "x-team": "blue"}


def test_urls_are_the_base_and_the_path():
    assert options().url("chat") == "https://api.openai.com/v1/chat/completions"
    other = options(base_url="http://localhost:8000/", paths={"chat": "/talk"})
    assert [other.url("chat"), other.url("speech")] == ["http://localhost:8000/talk", "http://localhost:8000/audio/speech"]


def test_the_card_says_what_openais_usual_models_can_unless_told_otherwise():
    assert "tools" in card_of(options()).features
    assert card_of(options(features=[])).features == ("streaming", "stop")
    assert card_of(options(features=["top_k"])).features == ("streaming", "stop", "top_k")
    card = card_of(options(abilities=["transcribe"]))
    assert set(card.features) == {"streaming", "translate", "word_timestamps"}
    assert card_of(options(abilities=["transcribe"], response_format="json")).features == ("streaming",)
    assert {"prompts", "title"} & set(card_of(options(abilities=["embed"])).features) == set()
    assert {"prompts", "title"} <= set(card_of(options(abilities=["embed"], extensions=True)).features)
    assert card_of(options(abilities=["synthesize"])).sample_rate == 24_000
    assert card_of(options(abilities=["synthesize"], speech_format="wav")).sample_rate is None


README = Path(__file__).parents[1] / "README.md"


def test_every_example_of_the_readme_is_a_configuration(tmp_path):
    blocks = re.findall(r"^```toml\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) > 4
    for block in blocks:
        (tmp_path / "modelhost.toml").write_text(block)
        loaded = load_config(
            tmp_path / "modelhost.toml", environ={"OPENAI_API_KEY": "k", "AZURE_KEY": "k", "OTHER_HOST_KEY": "k"}
        )
        for model in loaded.config.models.values():
            if model.plugin == "openai_api":
                read_options(OpenaiApiOptions, model.options)


def test_the_readme_names_every_option():
    text = README.read_text()
    assert [name for name in OpenaiApiOptions.__struct_fields__ if f"`{name}`" not in text] == []
