import io
import wave

import pytest
from hypothesis import given, strategies as st
from modelhost import BackendFailedError, Blob
from modelhost_openai_api.recording import kind_of
from modelhost_openai_api.synthesize import SoundReader
from modelhost_openai_api.wav import MOST_HEADER, find_sound, header


def wav(pcm: bytes, rate: int = 16_000, channels: int = 1, width: int = 2) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(width)
        out.setframerate(rate)
        out.writeframes(pcm)
    return file.getvalue()


def played(reader: SoundReader, raw: bytes, size: int) -> bytes:
    pieces = [reader.feed(raw[at : at + size]) for at in range(0, len(raw), size)]
    assert all(len(piece) % 2 == 0 for piece in pieces)
    reader.check_end()
    return b"".join(pieces)


samples = st.lists(st.binary(min_size=2, max_size=2), min_size=2, max_size=200).map(b"".join)


@given(samples, st.integers(8000, 48_000), st.integers(1, 99))
def test_a_wav_file_gives_its_samples_and_rate_in_pieces_of_any_size(pcm, rate, size):
    for form in ("wav", "pcm"):  # some servers answer with a file though PCM is asked for
        reader = SoundReader(form)
        assert played(reader, wav(pcm, rate) + b"LIST\x04\0\0\0INFO", size) == pcm
        assert reader.rate == rate


@given(samples, st.integers(1, 99))
def test_pcm_passes_as_it_is_but_for_half_a_sample_at_its_end(pcm, size):
    if pcm.startswith(b"RIFF"):
        return
    reader = SoundReader("pcm")
    assert played(reader, pcm + b"\x01", size) == pcm
    assert reader.rate == 24_000


def test_the_header_we_write_is_one_that_others_read():
    with wave.open(io.BytesIO(header(8000, 6) + b"abcdef")) as read:
        assert read.getparams()[:4] == (1, 2, 8000, 3)
    assert header(8000, 6) == wav(b"abcdef", 8000)[:44]


@pytest.mark.parametrize(
    "raw",
    [
        wav(b"abcd", channels=2),
        wav(b"abcd", width=1),
        b"RIFX0000WAVE" + b"x" * 99,
        b"RIFF\0\0\0\0WAVEdata\0\0\0\0",
        b"RIFF\0\0\0\0WAVE" + b"junk\x08\0\0\0" * (MOST_HEADER // 8),
    ],
)
def test_what_cannot_be_played_is_refused(raw):
    with pytest.raises(BackendFailedError, match="cannot be used"):
        SoundReader("wav").feed(raw)


@pytest.mark.parametrize("raw", [b"ID3\x04stuff", b"OggS\0\0\0\0", b"fLaC\0\0\0\0"])
def test_a_file_in_place_of_pcm_is_not_played_as_noise(raw):
    with pytest.raises(BackendFailedError, match="set speech_format"):
        SoundReader("pcm").feed(raw)


def test_sound_that_ends_before_its_header_says_is_cut():
    reader = SoundReader("wav")
    reader.feed(header(24_000, 100) + bytes(98))
    with pytest.raises(BackendFailedError, match="cut in the middle"):
        reader.check_end()


@pytest.mark.parametrize("rate", [0, 1, 7_999, 192_001, 2**31 - 1])
def test_a_rate_that_nobody_can_play_is_refused(rate):
    with pytest.raises(BackendFailedError, match=f"{rate} Hz"):
        SoundReader("wav").feed(header(rate, 2) + bytes(2))


def test_a_file_that_ends_in_its_header_is_no_sound():
    reader = SoundReader("wav")
    assert reader.feed(wav(b"abcd")[:40]) == b""
    with pytest.raises(BackendFailedError, match="before it began"):
        reader.check_end()


@given(st.binary(max_size=200))
def test_no_bytes_break_the_search_for_sound(raw):
    try:
        find_sound(raw)
        find_sound(b"RIFF\0\0\0\0WAVE" + raw)
    except ValueError:
        pass


@pytest.mark.parametrize(
    ("head", "declared", "kind"),
    [
        (b"RIFF\0\0\0\0WAVEfmt ", "mp3", "wav"),
        (b"ID3\x04", "wav", "mp3"),
        (b"\xff\xfb\x90\x00", "", "mp3"),
        (b"\xff\xf1\x50\x80", "", "aac"),
        (b"OggS\0\x02", "", "ogg"),
        (b"fLaC\0\0", "", "flac"),
        (b"\x1aE\xdf\xa3", "", "webm"),
        (b"\0\0\0\x18ftypM4A ", "", "m4a"),
        (b"\xff\xfb\x90\x00", "pcm", "pcm"),
        (b"who knows", "MPGA", "mpga"),
        (b"who knows", "../../x", "wav"),
        (b"", "", "wav"),
    ],
)
def test_a_recording_is_what_it_begins_like_rather_than_what_is_said(head, declared, kind):
    assert kind_of(Blob(head), declared) == kind
