import base64
import math
import wave
from array import array
from io import BytesIO

import pytest
from modelhost import (
    AudioChunk,
    BackendFailedError,
    Blob,
    Detected,
    Done,
    EmbedRequest,
    Segment,
    SynthesizeRequest,
    TranscribeRequest,
    UnsupportedError,
    Usage,
    Vectors,
    Word,
)
from modelhost.authors.languages import code_of
from modelhost.testing import tone

RECORDING = TranscribeRequest(audio=Blob(tone(0.2)), format="wav")
LARGE = 3 * 1024 * 1024


# transcribe


def test_a_transcript_has_its_language_its_segments_and_their_words(load, stand_in):
    request = TranscribeRequest(audio=Blob(tone(0.2)), language="en", prompt="A greeting.", temperature=0.2, word_timestamps=True)
    detected, first, second, done = load("transcribe").events("transcribe", request)
    assert detected == Detected(language="en")
    assert (first.start, first.end, first.text) == (0.0, 1.2, " Hello there.")
    assert first.words == (Word(text="Hello", start=0.1, end=0.5), Word(text="there.", start=0.6, end=1.0))
    assert [word.text for word in second.words] == ["How", "are", "you?"]
    assert (first.tokens, first.temperature, first.avg_logprob) == ((50364,), 0.0, -0.3)
    assert done == Done(usage=Usage(audio_seconds=2.5))
    (request,) = stand_in.requests
    assert request.path == "/v1/audio/transcriptions"
    fields = {
        name: stand_in.field_of(request, name) for name in ("model", "language", "prompt", "temperature", "response_format")
    }
    assert fields == {
        "model": ["hosted-1"],
        "language": ["en"],
        "prompt": ["A greeting."],
        "temperature": ["0.2"],
        "response_format": ["verbose_json"],
    }
    assert stand_in.field_of(request, "timestamp_granularities[]") == ["word", "segment"]
    assert stand_in.form_of(request)[-1] == stand_in.file_of(request)
    assert stand_in.file_of(request)[1:] == ("audio.wav", "audio/wav", tone(0.2))


def test_nothing_is_sent_that_was_not_asked(load, stand_in):
    load("transcribe").events("transcribe", RECORDING)
    assert [part.name for part in stand_in.form_of(stand_in.requests[0])] == ["model", "response_format", "file"]


def test_hotwords_are_part_of_the_prompt(load, stand_in):
    request = TranscribeRequest(audio=Blob(tone(0.2)), prompt="A talk.", hotwords=("Litestar", "msgspec"))
    load("transcribe", features=["hotwords"]).events("transcribe", request)
    assert stand_in.field_of(stand_in.requests[0], "prompt") == ["A talk., Litestar, msgspec"]


def test_translating_is_a_path_of_its_own_and_says_nothing_of_the_language(load, stand_in):
    model = load("transcribe")
    events = model.events("transcribe", TranscribeRequest(audio=Blob(tone(0.2)), task="translate"))
    assert stand_in.requests[0].path == "/v1/audio/translations"
    assert not any(isinstance(event, Detected) for event in events)
    for field, value in (("language", "it"), ("word_timestamps", True)):
        with pytest.raises(UnsupportedError, match="translations"):
            model.events("transcribe", TranscribeRequest(audio=Blob(b""), task="translate", **{field: value}))


@pytest.mark.parametrize(("form", "tokens"), [("json", 14), ("text", 0)])
def test_a_transcript_without_times_is_one_segment(load, form, tokens):
    segment, done = load("transcribe", response_format=form).events("transcribe", RECORDING)
    assert segment == Segment(start=0.0, end=0.0, text="Hello there. How are you?")
    assert done.usage.input_tokens == tokens


def test_raw_pcm_goes_up_as_a_wav_file_and_its_length_is_known(load, stand_in):
    pcm = tone(0.5, 8000)[44:]
    request = TranscribeRequest(audio=Blob(pcm), format="pcm", sample_rate=8000)
    segment, done = load("transcribe", response_format="json").events("transcribe", request)
    assert (segment.end, done.usage.audio_seconds) == (0.5, 0.5)
    with wave.open(BytesIO(stand_in.file_of(stand_in.requests[0]).data)) as sent:
        assert (sent.getframerate(), sent.getnchannels()) == (8000, 1)
        assert sent.readframes(99_999) == pcm


@pytest.mark.parametrize("form", ["", "pcm"])
def test_a_large_recording_goes_up_whole_and_again_when_it_must(load, stand_in, tmp_path, form):
    data = bytes(range(256)) * (LARGE // 256)
    (tmp_path / "upload").write_bytes(data)
    stand_in.fail(503, retry_after="0")
    load("transcribe").events("transcribe", TranscribeRequest(audio=Blob(path=tmp_path / "upload"), format=form))
    assert len(stand_in.requests) == 2
    assert all(stand_in.file_of(request).data.endswith(data) for request in stand_in.requests)


def test_silence_is_no_segment(load, stand_in):
    stand_in.json_answer = {"text": " ", "language": "english", "duration": 3, "segments": []}
    detected, done = load("transcribe").events("transcribe", RECORDING)
    assert (detected.language, done.usage.audio_seconds) == ("en", 3.0)


def test_segments_come_in_order_of_time_and_do_not_end_before_they_begin(load, stand_in):
    stand_in.json_answer = {"segments": [{"start": 2, "end": 1, "text": "b"}, {"start": 0, "end": 1, "text": "a"}]}
    *segments, _ = load("transcribe").events("transcribe", RECORDING)
    assert [(one.text, one.start, one.end) for one in segments] == [("a", 0.0, 1.0), ("b", 2.0, 2.0)]


@pytest.mark.parametrize("odd", [{"start": "nan"}, {"end": "inf"}, {"start": 1e300}, {"tokens": [2**64]}])
def test_times_and_tokens_that_are_none_are_a_failure(load, stand_in, odd):
    segment = {"start": 0, "end": 1, "text": "x", **odd}
    stand_in.fail(200, {"text": "x", "duration": 1, "segments": [segment]})
    with pytest.raises(BackendFailedError):
        load("transcribe").events("transcribe", RECORDING)


def test_times_before_the_beginning_are_taken_for_it(load, stand_in):
    word = {"word": "x", "start": -0.2, "end": -0.1}
    stand_in.fail(200, {"text": "x", "duration": 1, "segments": [{"start": -0.2, "end": 1, "text": "x", "words": [word]}]})
    segment, _ = load("transcribe").events("transcribe", RECORDING)
    assert (segment.start, segment.end, segment.words) == (0.0, 1.0, (Word(text="x", start=0.0, end=0.0),))


def test_very_many_segments_find_their_words(load, stand_in):
    times = range(20_000)
    segments = [{"start": at, "end": at + 1, "text": "x"} for at in times]
    stand_in.fail(200, {"text": "x", "segments": segments, "words": [{"word": str(at), "start": at, "end": at} for at in times]})
    *found, _ = load("transcribe").events("transcribe", RECORDING)
    assert [[word.text for word in segment.words] for segment in found] == [[str(at)] for at in times]


def test_a_plain_transcript_is_utf8_whatever_codec_the_upstream_names(load, stand_in):
    stand_in.fail(200, "grün".encode(), **{"content-type": "text/plain; charset=punycode"})
    segment, _ = load("transcribe", response_format="text").events("transcribe", RECORDING)
    assert segment.text == "grün"


def test_a_transcript_in_another_form_is_a_failure_that_says_what_to_set(load, stand_in):
    stand_in.fail(200, b"1\n00:00 --> 00:01\nHello")
    with pytest.raises(BackendFailedError, match="set response_format"):
        load("transcribe").events("transcribe", RECORDING)


@pytest.mark.parametrize(
    ("name", "code"), [("english", "en"), ("Haitian Creole", "ht"), ("de", "de"), ("haw", "haw"), ("klingon", None), ("", None)]
)
def test_languages_are_told_by_their_codes(name, code):
    assert code_of(name) == code


# synthesize


def test_speech_is_asked_for_in_openais_words(load, stand_in):
    model = load("synthesize", voice="nova")
    model.events("synthesize", SynthesizeRequest(text="Hello."))
    plain = {"model": "hosted-1", "input": "Hello.", "voice": "nova", "response_format": "pcm"}
    assert stand_in.requests[0].json == plain
    model.events("synthesize", SynthesizeRequest(text="Hello.", voice="echo", speed=1.5, instructions="Whisper."))
    assert stand_in.requests[1].json == plain | {"voice": "echo", "speed": 1.5, "instructions": "Whisper."}
    assert stand_in.requests[1].path == "/v1/audio/speech"


def test_what_openais_speech_has_no_word_for_is_refused_or_sent_to_a_server_that_has(load, stand_in):
    request = SynthesizeRequest(text="Hello.", seed=7, normalize=False)
    with pytest.raises(UnsupportedError) as refused:
        load("synthesize").events("synthesize", request)
    assert refused.value.param == "normalize"
    load("synthesize", extensions=True).events("synthesize", request)
    assert (stand_in.requests[0].json["seed"], stand_in.requests[0].json["normalize"]) == (7, False)


@pytest.mark.parametrize(("form", "rate"), [("pcm", 24_000), ("wav", 22_050)])
def test_the_sound_is_that_of_the_upstream_at_its_rate(load, form, rate):
    *chunks, done = load("synthesize", speech_format=form).events("synthesize", SynthesizeRequest(text="Hello."))
    assert all(isinstance(chunk, AudioChunk) and chunk.sample_rate == rate for chunk in chunks)
    assert sum(len(chunk.data) for chunk in chunks) == 12_000
    assert len(chunks) > 1
    assert done.usage.audio_seconds == pytest.approx(6000 / rate)


def test_no_sound_at_all_is_an_answer_too(load, stand_in):
    stand_in.fail(200, b"")
    assert load("synthesize").events("synthesize", SynthesizeRequest(text="…")) == [Done()]


# embed


def rows(events):
    found = []
    for event in events:
        if isinstance(event, Vectors):
            numbers = array("f", event.data)
            found += [list(numbers[at : at + event.dimensions]) for at in range(0, len(numbers), event.dimensions)]
    return found


def test_inputs_go_up_in_batches_and_vectors_come_down_in_order(load, stand_in):
    inputs = ("a", "b", (99, 100), "d", "e")
    events = load("embed", batch_size=2).events("embed", EmbedRequest(inputs=inputs, dimensions=7))
    assert [request.json["input"] for request in stand_in.requests] == [["a", "b"], [[99, 100], "d"], ["e"]]
    settings = {"model": "hosted-1", "encoding_format": "base64", "dimensions": 7}
    assert {name: stand_in.requests[0].json[name] for name in settings} == settings
    assert [event.first for event in events[:-1]] == [0, 2, 4]
    assert events[-1] == Done(usage=Usage(input_tokens=21))
    found = rows(events)
    assert [round(row[1] / row[0]) for row in found] == [97, 98, 99, 100, 101]
    assert all(math.isclose(math.hypot(*row), 1.0, rel_tol=1e-5) for row in found)


def answer_of(*vectors, **more):
    return {"data": [{"index": at, "embedding": vector} for at, vector in enumerate(vectors)], **more}


def test_vectors_as_numbers_are_read_too(load, stand_in):
    stand_in.json_answer = answer_of([3, 4.0], [0.6, 0.8])
    found = rows(load("embed").events("embed", EmbedRequest(inputs=("a", "b"))))
    assert found[0] == pytest.approx([0.6, 0.8])
    assert found[1] == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize(
    "answer",
    [
        answer_of([1.0, 0.0]),
        answer_of([1.0, 0.0], [1.0]),
        answer_of([1.0, 0.0], [0.0, 0.0]),
        answer_of([1.0, 0.0], []),
        answer_of([1.0, 0.0], base64.b64encode(b"12345").decode()),
        answer_of([1.0, 0.0], base64.b64encode(array("f", [math.nan, 1.0]).tobytes()).decode()),
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}]},
        {"vectors": []},
    ],
)
def test_anything_but_one_vector_for_each_input_is_a_failure(load, stand_in, answer):
    stand_in.json_answer = answer
    with pytest.raises(BackendFailedError, match="upstream"):
        load("embed").events("embed", EmbedRequest(inputs=("a", "b")))


def test_a_vector_of_unheard_length_is_refused_before_its_numbers_are_read(load, stand_in):
    stand_in.fail(200, {"data": [{"index": 0, "embedding": [0.5] * 400_000}]})
    with pytest.raises(BackendFailedError, match="at most 1048576 bytes"):
        load("embed").events("embed", EmbedRequest(inputs=("a",)))


def test_prompts_and_titles_are_refused_or_sent_to_a_server_that_knows_them(load, stand_in):
    request = EmbedRequest(inputs=("a",), prompt_name="query", title="A")
    with pytest.raises(UnsupportedError) as refused:
        load("embed").events("embed", request)
    assert refused.value.param == "prompt_name"
    load("embed", extensions=True).events("embed", request)
    assert (stand_in.requests[0].json["prompt_name"], stand_in.requests[0].json["title"]) == ("query", "A")
