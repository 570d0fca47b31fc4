"""Encoding speech while it is made: every format gives back what went in, however the stream is cut."""

import io
import struct
from itertools import pairwise

import av
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from modelhost import BadInputError, Blob
from modelhost.audio import SAMPLE_RATE, Encoder, Resampler, Samples, decode, from_pcm, to_pcm
from modelhost.contract.types.synthesize import MEDIA_TYPES

FORMATS = sorted(MEDIA_TYPES)
EXACT = ("flac", "pcm", "wav")
PRIMING = 0.2
"""Seconds of silence a codec may add at the start and the end, at its lowest rate."""


def sweep(seconds: float, rate: int) -> bytes:
    """A tone that rises from 200 to 2000 Hz, so that no two places sound the same."""
    at = np.arange(int(seconds * rate)) / rate
    return to_pcm((0.4 * np.sin(2 * np.pi * (200 + 900 * at / seconds) * at)).astype(np.float32))


def encoded(pcm: bytes, format: str, rate: int, to_rate: int | None = None, piece: int | None = None) -> bytes:  # noqa: A002
    encoder = Encoder(format, rate, to_rate)
    step = piece or len(pcm) or 1
    return b"".join([*(encoder.encode(pcm[at : at + step]) for at in range(0, len(pcm), step)), encoder.finish()])


def heard(data: bytes, format: str, rate: int) -> Samples:  # noqa: A002
    return decode(Blob(data), format=format, sample_rate=rate)


def likeness(one: Samples, other: Samples) -> float:
    """Correlation of two sounds at the lag where it is best, to an eighth of a sample."""
    size = 1 << (len(one) + len(other)).bit_length()
    products = 8 * np.fft.irfft(np.fft.rfft(one, size) * np.fft.rfft(other, size).conj(), 8 * size)
    return float(products.max() / (np.linalg.norm(one) * np.linalg.norm(other)))


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 24_000, 44_100, 96_000, 192_000])
@pytest.mark.parametrize("format", FORMATS)
def test_what_is_decoded_is_what_was_encoded(format: str, rate: int) -> None:  # noqa: A002
    pcm = sweep(2, rate)
    encoder = Encoder(format, rate)
    sound = heard(encoder.encode(pcm) + encoder.finish(), format, encoder.sample_rate)
    said = decode(Blob(pcm), format="pcm", sample_rate=rate)
    slack = 0.001 if format in (*EXACT, "opus") else PRIMING
    assert 2 - 0.001 <= len(sound) / SAMPLE_RATE <= 2 + slack
    assert likeness(sound, said) > 0.99


@pytest.mark.parametrize("format", EXACT)
def test_what_loses_nothing_loses_nothing(format: str) -> None:  # noqa: A002
    pcm = np.random.default_rng(0).integers(-32768, 32768, 40_000).astype("<i2").tobytes()
    assert to_pcm(heard(encoded(pcm, format, SAMPLE_RATE), format, SAMPLE_RATE)) == pcm


PCM = sweep(0.7, 22_050)


@settings(max_examples=25)
@given(st.sampled_from(FORMATS), st.sampled_from([None, 16_000, 48_000]), st.lists(st.integers(0, len(PCM)), max_size=30))
def test_no_bit_depends_on_how_the_stream_is_cut(format: str, to_rate: int | None, cuts: list[int]) -> None:  # noqa: A002
    encoder = Encoder(format, 22_050, to_rate)
    pieces = [PCM[start:end] for start, end in pairwise([0, *sorted(cuts), len(PCM)])]
    streamed = b"".join([*map(encoder.encode, pieces), encoder.finish()])
    assert streamed == encoded(PCM, format, 22_050, to_rate)


@given(st.sampled_from([8_000, 16_000, 24_000, 44_100]), st.lists(st.integers(0, len(PCM)), max_size=30))
@settings(max_examples=25)
def test_no_bit_of_resampled_pcm_depends_on_how_it_is_cut(to_rate: int, cuts: list[int]) -> None:
    whole, cut = Resampler(22_050, to_rate), Resampler(22_050, to_rate)
    pieces = [PCM[start:end] for start, end in pairwise([0, *sorted(cuts), len(PCM)])]
    assert b"".join([*map(cut.resample, pieces), cut.finish()]) == whole.resample(PCM) + whole.finish()


@pytest.mark.parametrize(
    ("rate", "to_rate"), [(22_050, 16_000), (22_050, 24_000), (44_100, 48_000), (8_000, 16_000), (48_000, 8_000)]
)
def test_a_resampled_tone_is_that_tone_and_nothing_else(rate: int, to_rate: int) -> None:
    """What is left when the tone is taken away is 70 dB below it: no clicks, no mirror images."""
    tone = to_pcm((0.5 * np.sin(2 * np.pi * 1000 * np.arange(2 * rate) / rate)).astype(np.float32))
    resampler = Resampler(rate, to_rate)
    pieces = [resampler.resample(tone[at : at + 333]) for at in range(0, len(tone), 333)]
    sound = from_pcm(b"".join([*pieces, resampler.finish()])).astype(np.float64)
    assert len(sound) == pytest.approx(2 * to_rate, abs=2)
    middle = sound[to_rate // 4 : -to_rate // 4]
    at = 2 * np.pi * 1000 * np.arange(len(middle)) / to_rate
    basis = np.stack([np.sin(at), np.cos(at)], axis=1)
    rest = middle - basis @ np.linalg.lstsq(basis, middle, rcond=None)[0]
    assert 20 * np.log10(np.sqrt(0.125) / rest.std()) > 70


def test_pcm_of_the_same_rate_passes_as_it_is() -> None:
    resampler = Resampler(24_000, 24_000)
    assert resampler.resample(PCM) + resampler.finish() == PCM
    assert encoded(PCM, "pcm", 24_000) == PCM


@pytest.mark.parametrize("format", FORMATS)
def test_the_first_sound_can_be_heard_before_the_rest_is_made(format: str) -> None:  # noqa: A002
    """After half a second of speech in pieces of 20 ms, a third of a second can be played."""
    encoder = Encoder(format, 24_000)
    pcm = sweep(0.5, 24_000)
    start = b"".join(encoder.encode(pcm[at : at + 960]) for at in range(0, len(pcm), 960))
    assert len(heard(start, format, 24_000)) > 0.33 * SAMPLE_RATE


@pytest.mark.parametrize("format", FORMATS)
def test_every_piece_leaves_with_the_next_ones(format: str) -> None:  # noqa: A002
    """Nothing is collected: over any 150 ms bytes come out."""
    encoder = Encoder(format, 24_000)
    pcm = sweep(1.8, 24_000)
    sizes = [len(encoder.encode(pcm[at : at + 7_200])) for at in range(0, len(pcm), 7_200)]
    assert all(sizes)


@pytest.mark.parametrize("format", FORMATS)
def test_an_empty_stream_gives_an_empty_file(format: str) -> None:  # noqa: A002
    data = encoded(b"", format, 24_000)
    starts = {"wav": b"RIFF", "flac": b"fLaC", "opus": b"OggS"}
    assert data.startswith(starts[format]) if format in starts else data == b""
    if format in EXACT and data:
        with av.open(io.BytesIO(data)) as container:
            assert sum(frame.samples for frame in container.decode(audio=0)) == 0


@pytest.mark.parametrize("format", FORMATS)
def test_a_sound_shorter_than_a_frame_of_the_codec_is_kept(format: str) -> None:  # noqa: A002
    assert len(heard(encoded(sweep(0.005, 24_000), format, 24_000), format, 24_000)) >= 80


def test_half_a_sample_at_the_end_is_left_out() -> None:
    assert encoded(PCM + b"\x07", "pcm", 24_000, piece=3) == PCM


@pytest.mark.parametrize(
    ("format", "rate", "to_rate", "real"),
    [
        ("opus", 22_050, None, 24_000),
        ("opus", 44_100, None, 48_000),
        ("opus", 192_000, None, 48_000),
        ("opus", 24_000, 8_000, 8_000),
        ("mp3", 22_050, None, 22_050),
        ("mp3", 96_000, None, 48_000),
        ("mp3", 24_000, 20_000, 22_050),
        ("aac", 192_000, None, 96_000),
        ("aac", 44_100, None, 44_100),
        ("flac", 44_100, None, 44_100),
        ("wav", 22_050, 16_000, 16_000),
        ("pcm", 22_050, 11_111, 11_111),
    ],
)
def test_the_rate_is_the_one_asked_for_or_the_next_the_codec_can(format: str, rate: int, to_rate: int | None, real: int) -> None:  # noqa: A002
    encoder = Encoder(format, rate, to_rate)
    assert encoder.sample_rate == real
    data = encoder.encode(sweep(0.3, rate)) + encoder.finish()
    if format not in ("pcm", "opus"):  # the one does not say, the other always 48000
        with av.open(io.BytesIO(data)) as container:
            assert container.streams.audio[0].rate == real


def test_a_wav_says_that_nobody_knows_its_length_yet() -> None:
    data = encoded(PCM, "wav", 22_050)
    assert data[:4] + data[8:12] + data[36:40] == b"RIFFWAVEdata"
    assert struct.unpack("<I", data[4:8]) == struct.unpack("<I", data[40:44]) == (0xFFFFFFFF,)
    assert struct.unpack("<HHIIHH", data[20:36]) == (1, 1, 22_050, 44_100, 2, 16)
    assert data[44:] == PCM


def test_the_same_speech_is_the_same_file() -> None:
    assert all(encoded(PCM, name, 22_050) == encoded(PCM, name, 22_050) for name in FORMATS)


def test_the_media_type_is_the_one_players_know() -> None:
    assert {name: Encoder(name, 24_000).media_type for name in FORMATS} == MEDIA_TYPES
    assert MEDIA_TYPES["mp3"] == "audio/mpeg"
    assert MEDIA_TYPES["opus"] == "audio/ogg"


def test_a_format_nobody_has_heard_of_is_refused_by_name() -> None:
    with pytest.raises(BadInputError, match="pcm, wav, flac, mp3, opus, aac") as refused:
        Encoder("wma", 24_000)
    assert refused.value.param == "format"


@pytest.mark.parametrize("rate", [0, 7_999, 192_001])
def test_pcm_of_an_impossible_rate_is_a_mistake_of_the_backend(rate: int) -> None:
    with pytest.raises(ValueError, match="only 8000 to 192000 Hz"):
        Encoder("mp3", rate, 24_000)
    with pytest.raises(ValueError, match="only 8000 to 192000 Hz"):
        Resampler(rate, 24_000)


def test_an_encoder_that_is_left_in_the_middle_leaves_nothing_behind() -> None:
    for name in FORMATS:
        encoder = Encoder(name, 24_000)
        encoder.encode(PCM)
        del encoder
