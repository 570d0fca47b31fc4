import pytest
from modelhost import BadInputError, Blob, Done, NotReadyError, SynthesizeRequest, Voices, VoiceSample, VoicesRequest
from modelhost.testing import Loaded
from modelhost_openaudio import OpenAudioBackend

RECORDING = bytes(range(256)) * 300
SAMPLE = VoiceSample(audio=Blob(RECORDING), text="Mein Name ist Änne.")


@pytest.fixture
def served(fish):
    server = fish()
    loaded = Loaded(OpenAudioBackend, {"base_url": server.url})
    yield server.app, loaded
    loaded.close()


def names(loaded, **fields):
    voices, done = loaded.events("voices", VoicesRequest(**fields))
    assert isinstance(voices, Voices)
    assert isinstance(done, Done)
    return voices.names


def test_a_voice_is_added_spoken_with_and_deleted(served):
    fish, loaded = served
    assert names(loaded) == ("default",)
    assert names(loaded, add="anna", samples=(SAMPLE,)) == ("default", "anna")
    assert fish.references["anna"] == (RECORDING, "Mein Name ist Änne.")
    assert loaded.events("synthesize", SynthesizeRequest(text="one", voice="anna"))
    assert fish.requests[-1]["reference_id"] == "anna"
    assert names(loaded, delete="anna") == ("default",)
    with pytest.raises(BadInputError, match="no such voice"):
        loaded.events("synthesize", SynthesizeRequest(text="one", voice="anna"))


def test_a_name_that_is_taken_is_refused(served):
    _, loaded = served
    names(loaded, add="anna", samples=(SAMPLE,))
    with pytest.raises(BadInputError, match="already") as caught:
        names(loaded, add="anna", samples=(SAMPLE,))
    assert caught.value.param == "add"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"add": "default", "samples": (SAMPLE,)}, "add"),
        ({"add": "../x", "samples": (SAMPLE,)}, "add"),
        ({"add": "anna", "samples": (SAMPLE, SAMPLE)}, "samples"),
        ({"add": "anna", "samples": (VoiceSample(audio=Blob(RECORDING)),)}, "samples"),
        ({"add": "anna", "samples": (VoiceSample(audio=Blob(b""), text="a"),)}, "samples"),
        ({"delete": "../x"}, "delete"),
        ({"delete": "nobody"}, "delete"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused_by_name(served, fields, param):
    fish, loaded = served
    with pytest.raises(BadInputError) as caught:
        names(loaded, **fields)
    assert caught.value.param == param
    assert fish.references == {}


def test_configured_references_are_added_where_they_are_missing(fish, tmp_path):
    recording = tmp_path / "anna.flac"
    recording.write_bytes(RECORDING)
    server = fish()
    server.app.references["bob"] = (b"as it was", "here before")
    references = {name: {"audio": str(recording), "text": "I am here."} for name in ("anna", "bob")}
    loaded = Loaded(OpenAudioBackend, {"base_url": server.url, "references": references, "voice": "anna"})
    assert loaded.card.voices == ("default", "anna", "bob")
    assert server.app.references == {"anna": (RECORDING, "I am here."), "bob": (b"as it was", "here before")}
    assert loaded.events("synthesize", SynthesizeRequest(text="one"))
    assert server.app.requests[-1]["reference_id"] == "anna"
    loaded.close()


def test_a_recording_that_is_not_there_is_named_when_the_model_is_loaded(fish, tmp_path):
    references = {"anna": {"audio": str(tmp_path / "gone.wav"), "text": "a"}}
    with pytest.raises(NotReadyError, match=r"references\.anna\.audio"):
        Loaded(OpenAudioBackend, {"base_url": fish().url, "references": references})


def test_a_configured_voice_that_is_not_there_is_named_when_the_model_is_loaded(fish):
    with pytest.raises(NotReadyError, match="no voice 'anna'"):
        Loaded(OpenAudioBackend, {"base_url": fish().url, "voice": "anna"})


def test_a_long_list_of_voices_is_not_all_told(served):
    fish, loaded = served
    fish.references = {f"voice {n:02}": (b"", "") for n in range(30)}
    with pytest.raises(BadInputError, match=r"'voice 19' and 10 more$"):
        loaded.events("synthesize", SynthesizeRequest(text="one", voice="nobody"))
