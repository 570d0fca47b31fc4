import asyncio
from array import array
from contextlib import aclosing

import pytest
from fish_server import OWN_PERIOD, RATE, WORD_SAMPLES, period_of, tone
from modelhost import AudioChunk, BadInputError, Blob, Context, Done, SynthesizeRequest, VoiceSample
from modelhost.testing import Loaded
from modelhost_openaudio import OpenAudioBackend

RECORDING = bytes(range(256)) * 4


@pytest.fixture
def speaking(fish):
    """Makes loaded backends, each with a stand-in of its own."""
    made = []

    def start(server=None, **options):
        server = server or fish()
        made.append(Loaded(OpenAudioBackend, {"base_url": server.url, **options}))
        return server.app, made[-1]

    yield start
    for loaded in made:
        loaded.close()


def sound(loaded, text="one two", **fields):
    events = loaded.events("synthesize", SynthesizeRequest(text=text, **fields))
    assert isinstance(events[-1], Done)
    assert all(event.sample_rate == RATE for event in events[:-1])
    pcm = b"".join(event.data for event in events if isinstance(event, AudioChunk))
    assert events[-1].usage.audio_seconds == pytest.approx(len(pcm) / 2 / RATE)
    return pcm


def period(pcm):
    """Samples of one swing: where the sound repeats itself for the first time."""
    samples = array("h", pcm)
    return next(n for n in range(20, 200) if samples[n : n + 500] == samples[:500])


@pytest.mark.parametrize("stream", [True, False])
def test_every_sample_of_the_servers_sound_arrives(speaking, stream):
    fish, loaded = speaking(stream=stream)
    assert sound(loaded, "one two three") == tone("one two three", OWN_PERIOD)
    assert fish.requests[-1]["streaming"] is stream
    assert fish.requests[-1]["format"] == "wav"


def test_a_stream_with_a_header_sounds_the_same(speaking):
    fish, loaded = speaking()
    fish.fault = "riff"
    assert sound(loaded) == tone("one two", OWN_PERIOD)


def test_the_format_the_caller_wants_is_not_the_servers_business(speaking):
    """The server answers `opus` and `pcm` with an error; it is asked for WAV, and the worker encodes."""
    _, loaded = speaking(stream=False)
    *chunks, done = loaded.events("synthesize", SynthesizeRequest(text="one two", format="opus"))
    assert isinstance(done, Done)
    assert b"".join(chunk.data for chunk in chunks).startswith(b"OggS")


def test_the_first_sound_comes_before_the_last_is_made(speaking):
    fish, loaded = speaking()
    fish.fault = "hang"

    async def leave_early():
        async with aclosing(loaded.instance.call("synthesize", SynthesizeRequest(text="one two"), Context())) as events:
            assert len((await anext(events)).data) >= 2

    loaded.run(leave_early())


def test_a_client_that_leaves_closes_the_connection(speaking):
    fish, loaded = speaking()
    fish.fault = "hang"

    async def leave_early():
        async with aclosing(loaded.instance.call("synthesize", SynthesizeRequest(text="one two"), Context())) as events:
            await anext(events)
        return await asyncio.to_thread(fish.left.wait, 10)

    assert loaded.run(leave_early())


@pytest.mark.parametrize("voice", [None, "default"])
def test_no_voice_and_default_mean_the_configured_one(speaking, fish, voice):
    server = fish()
    server.app.references["anna"] = (b"", "")
    _, loaded = speaking(server, voice="anna")
    assert period(sound(loaded, voice=voice)) == period_of("anna")


@pytest.mark.parametrize("voice", [None, "default"])
def test_without_a_configured_voice_the_server_chooses(speaking, voice):
    fish, loaded = speaking()
    assert period(sound(loaded, voice=voice)) == OWN_PERIOD
    assert "reference_id" not in fish.requests[-1]


def test_a_voice_of_the_server_is_named_to_it(speaking):
    fish, loaded = speaking()
    fish.references["Bob 2"] = (b"", "")
    assert period(sound(loaded, voice="Bob 2")) == period_of("Bob 2")


def test_an_unknown_voice_is_refused_with_the_known_ones_and_never_sent(speaking):
    fish, loaded = speaking()
    fish.references["anna"] = (b"", "")
    with pytest.raises(BadInputError, match="'anna'") as caught:
        sound(loaded, voice="anne")
    assert (caught.value.param, caught.value.code) == ("voice", "unknown_voice")
    assert fish.requests == []
    assert list(fish.references) == ["anna"]


def test_a_voice_that_others_add_is_found_and_a_known_one_not_looked_up_again(speaking):
    fish, loaded = speaking()
    fish.references["anna"] = (b"", "")
    sound(loaded, voice="anna")
    before = fish.calls.count("GET /v1/references/list")
    sound(loaded, voice="anna")
    assert fish.calls.count("GET /v1/references/list") == before


@pytest.mark.parametrize("name", ["../secret", "a/b", "", "anna\n"])
def test_a_voice_that_could_be_a_path_is_never_sent(speaking, name):
    fish, loaded = speaking()
    before = list(fish.calls)
    with pytest.raises(BadInputError, match="name of a voice"):
        sound(loaded, voice=name)
    assert fish.calls == before


@pytest.mark.parametrize("voice", [None, "default"])
def test_samples_reach_the_server_byte_for_byte(speaking, fish, voice):
    """A string of less than 256 characters would not: so they do not go as strings."""
    server = fish()
    server.app.references["anna"] = (b"", "")
    app, loaded = speaking(server, voice="anna")
    samples = (VoiceSample(audio=Blob(b"short"), text="öne"), VoiceSample(audio=Blob(RECORDING), text="two"))
    assert period(sound(loaded, voice=voice, samples=samples)) == period_of(b"short" + RECORDING)
    assert app.requests[-1]["references"] == [{"audio": b"short", "text": "öne"}, {"audio": RECORDING, "text": "two"}]
    assert "reference_id" not in app.requests[-1]


def test_a_voice_and_samples_together_are_refused(speaking):
    """The server would drop the samples without a word."""
    fish, loaded = speaking()
    fish.references["anna"] = (b"", "")
    with pytest.raises(BadInputError, match="exclude each other"):
        sound(loaded, voice="anna", samples=(VoiceSample(audio=Blob(RECORDING)),))


def test_an_empty_sample_is_refused(speaking):
    _, loaded = speaking()
    with pytest.raises(BadInputError, match="no sound"):
        sound(loaded, samples=(VoiceSample(audio=Blob(b"")),))


SETTINGS = {"temperature": 0.5, "top_p": 0.6, "repetition_penalty": 1.5, "chunk_length": 150, "seed": 7}


def test_settings_nobody_makes_are_left_to_the_server(speaking):
    fish, loaded = speaking()
    sound(loaded)
    assert fish.requests[-1].keys() == {"text", "format", "streaming", "normalize", "use_memory_cache", "references"}


def test_a_request_overrides_the_options_and_options_the_server(speaking):
    fish, loaded = speaking(**SETTINGS, max_tokens=50, normalize=False, latency="balanced", use_memory_cache=True)
    sound(loaded)
    wanted = {**SETTINGS, "max_new_tokens": 50, "normalize": False, "latency": "balanced", "use_memory_cache": "on"}
    assert wanted.items() <= fish.requests[-1].items()
    sound(loaded, temperature=1.0, seed=0, normalize=True, max_tokens=9)
    wanted |= {"temperature": 1.0, "seed": 0, "normalize": True, "max_new_tokens": 9}
    assert wanted.items() <= fish.requests[-1].items()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 0.0),
        ("temperature", 1.5),
        ("top_p", 0.05),
        ("repetition_penalty", 0.5),
        ("chunk_length", 99),
        ("chunk_length", 1001),
    ],
)
def test_a_setting_the_server_cannot_take_is_refused_by_name_with_its_range(speaking, field, value):
    fish, loaded = speaking()
    with pytest.raises(BadInputError, match=rf"{field} must be from [\d.]+ to [\d.]+") as caught:
        sound(loaded, **{field: value})
    assert caught.value.param == field
    assert fish.requests == []


@pytest.mark.parametrize("text", ["", "  \n", "...!?", "a\0b", "word " * 11])
def test_a_text_that_cannot_be_spoken_is_refused(speaking, text):
    fish, loaded = speaking(max_text_chars=50)
    with pytest.raises(BadInputError) as caught:
        sound(loaded, text)
    assert caught.value.param == "text"
    assert fish.requests == []


def test_sound_that_grows_too_long_ends_with_an_error_not_with_silence(speaking):
    seconds = WORD_SAMPLES / RATE
    _, loaded = speaking(max_audio_seconds=2.5 * seconds)
    assert len(sound(loaded, "one two")) == 2 * 2 * WORD_SAMPLES
    with pytest.raises(BadInputError, match=r"more than 0\.25 s"):
        sound(loaded, "one two three")
