import threading
from pathlib import Path

import pytest
import stamina
from fish_server import free_port
from modelhost import (
    BackendFailedError,
    BadInputError,
    Blob,
    Context,
    DeadlineError,
    Done,
    NotReadyError,
    OverloadedError,
    SynthesizeRequest,
    VoiceSample,
    VoicesRequest,
)
from modelhost.authors import upstream
from modelhost.testing import Loaded
from modelhost_openaudio import OpenAudioBackend

SPEECH = SynthesizeRequest(text="one two")


@pytest.fixture(autouse=True)
def no_pauses():
    with stamina.set_testing(True, attempts=100, cap=True):
        yield


@pytest.fixture
def speaking(fish):
    made = []

    def start(server=None, settings=None, **options):
        server = server or fish(**(settings or {}))
        made.append(Loaded(OpenAudioBackend, {"base_url": server.url, **options}))
        return server.app, made[-1]

    yield start
    for loaded in made:
        loaded.close()


def spoken(fish):
    return fish.calls.count("POST /v1/tts")


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_server_is_asked_again(speaking, status):
    fish, loaded = speaking()
    fish.answers = [status, status]
    assert isinstance(loaded.events("synthesize", SPEECH)[-1], Done)
    assert spoken(fish) == 3


def test_a_server_that_stays_busy_is_asked_as_often_as_configured(speaking):
    fish, loaded = speaking(retries=1)
    fish.answers = [503] * 5
    with pytest.raises(OverloadedError) as caught:
        loaded.events("synthesize", SPEECH)
    assert caught.value.retry
    assert spoken(fish) == 2


def test_a_failure_of_the_server_is_not_repeated_and_does_not_last(speaking):
    fish, loaded = speaking()
    fish.answers = [500]
    with pytest.raises(BackendFailedError, match="500"):
        loaded.events("synthesize", SPEECH)
    assert spoken(fish) == 1
    assert isinstance(loaded.events("synthesize", SPEECH)[-1], Done)


def test_a_failure_with_samples_may_be_theirs_and_says_so(speaking):
    fish, loaded = speaking()
    fish.answers = [500]
    with pytest.raises(BackendFailedError, match="send them as WAV"):
        loaded.events("synthesize", SynthesizeRequest(text="one", samples=(VoiceSample(audio=Blob(b"?")),)))


def test_a_stream_that_is_cut_ends_with_an_error_and_is_not_asked_for_again(speaking):
    fish, loaded = speaking()
    fish.fault = "cut"
    heard = []

    async def listen():
        async for event in loaded.instance.call("synthesize", SPEECH, Context()):
            heard.append(event)  # noqa: PERF401  # it must be there when the rest fails

    with pytest.raises(BackendFailedError, match="cut in the middle") as caught:
        loaded.run(listen())
    assert caught.value.retry
    assert heard
    assert not any(isinstance(event, Done) for event in heard)
    assert spoken(fish) == 1


def test_silence_is_an_error(speaking):
    fish, loaded = speaking()
    fish.fault = "silent"
    with pytest.raises(BackendFailedError, match="no sound"):
        loaded.events("synthesize", SPEECH)


def test_a_key_opens_the_server_and_a_wrong_one_is_named(speaking, fish):
    server = fish(api_key="right")
    _, loaded = speaking(server, api_key="right")
    assert isinstance(loaded.events("synthesize", SPEECH)[-1], Done)
    for options in ({}, {"api_key": "wrong"}):
        with pytest.raises(NotReadyError, match="does not accept the key") as caught:
            Loaded(OpenAudioBackend, {"base_url": server.url, **options})
        assert not caught.value.retry
        assert "wrong" not in caught.value.message


def test_a_key_that_was_changed_is_an_error_of_the_call(speaking, fish):
    server = fish(api_key="right")
    app, loaded = speaking(server, api_key="right")
    app.api_key = "other"
    with pytest.raises(NotReadyError, match="does not accept the key"):
        loaded.events("synthesize", SPEECH)


def test_the_servers_own_limit_of_text_is_told_with_its_number(speaking):
    _, loaded = speaking(settings={"max_text_length": 10})
    with pytest.raises(BadInputError, match="10 characters at most") as caught:
        loaded.events("synthesize", SynthesizeRequest(text="one two three"))
    assert caught.value.param == "text"


def test_an_s1_servers_limit_of_chunk_length_is_told(speaking):
    _, loaded = speaking(settings={"s1": True})
    with pytest.raises(BadInputError, match="100 to 300") as caught:
        loaded.events("synthesize", SynthesizeRequest(text="one", chunk_length=500))
    assert caught.value.param == "chunk_length"


def test_what_a_server_says_of_the_text_is_not_passed_on(speaking):
    """The answer to a value the server does not know repeats the input."""
    _, loaded = speaking(settings={"s1": True}, chunk_length=500)
    with pytest.raises(BackendFailedError, match="422") as caught:
        loaded.events("synthesize", SynthesizeRequest(text="confidential"))
    assert "confidential" not in caught.value.message


def test_no_server_is_named_with_its_address_and_a_remedy():
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(NotReadyError, match=f"no speech server at {url}; start fish-speech"):
        Loaded(OpenAudioBackend, {"base_url": url})


def test_a_server_that_goes_away_is_an_error_of_the_call(speaking, fish):
    server = fish()
    _, loaded = speaking(server)
    server.stop()
    with pytest.raises(NotReadyError, match="no speech server") as caught:
        loaded.events("synthesize", SPEECH)
    assert caught.value.retry


def test_another_kind_of_server_is_told_apart(fish):
    with pytest.raises(NotReadyError, match="404"):
        Loaded(OpenAudioBackend, {"base_url": fish().url + "/elsewhere"})


def test_a_wrong_path_is_an_error_of_the_call(speaking):
    _, loaded = speaking(path="/v2/tts")
    with pytest.raises(NotReadyError, match="`path`"):
        loaded.events("synthesize", SPEECH)


def test_a_proxy_of_the_environment_is_not_used(speaking, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    _, loaded = speaking()
    assert isinstance(loaded.events("synthesize", SPEECH)[-1], Done)


class Speech:
    """A call that keeps a stand-in busy in another thread until it is told to go on."""

    def __init__(self, server):
        self.app = server.app
        self.app.hold = threading.Event()
        self.loaded = Loaded(OpenAudioBackend, {"base_url": server.url})
        self.thread = threading.Thread(target=self.loaded.events, args=("synthesize", SPEECH))
        self.thread.start()
        assert self.app.speaking.wait(10)

    def end(self):
        self.app.hold.set()
        self.thread.join()
        self.loaded.close()


def test_a_model_loads_beside_a_busy_server_and_learns_its_voices_later(fish):
    server = fish()
    server.app.references["anna"] = (b"", "")
    other = Speech(server)
    loaded = Loaded(OpenAudioBackend, {"base_url": server.url, "voice": "anna", "connect_timeout": 0.5, "timeout": 1})
    assert loaded.card.voices == ("default",)
    with pytest.raises(DeadlineError, match=r"nothing for 1 s"):
        loaded.events("voices", VoicesRequest())
    other.end()
    assert loaded.events("voices", VoicesRequest())[0].names == ("default", "anna")
    loaded.close()


def test_nothing_is_printed_when_a_call_is_tried_again(speaking, capfd):
    fish, loaded = speaking()
    fish.answers = [503]
    loaded.events("synthesize", SPEECH)
    assert "retry" not in "".join(capfd.readouterr())


def open_files():
    return len(list(Path("/dev/fd").iterdir()))


def test_file_descriptors_do_not_pile_up(speaking):
    _, loaded = speaking()
    loaded.events("synthesize", SPEECH)
    before = open_files()
    for _ in range(5):
        loaded.events("synthesize", SPEECH)
    assert open_files() <= before + 1


def test_sound_that_is_packed_is_refused_unread(speaking):
    server, speech = speaking()
    server.fault = "packed"
    with pytest.raises(BackendFailedError, match="packs its answer"):
        speech.events("synthesize", SPEECH)


def test_sound_without_end_is_broken_off(speaking, monkeypatch):
    _, speech = speaking()
    monkeypatch.setattr(upstream, "MOST", 1000)
    with pytest.raises(BackendFailedError, match="larger than"):
        speech.events("synthesize", SPEECH)
