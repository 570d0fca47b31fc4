import struct
from itertools import pairwise

import pytest
from fish_server import RATE, wav
from hypothesis import given, strategies as st
from modelhost import BackendFailedError
from modelhost_openaudio.wav_stream import HEADER_LIMIT, WavStream

samples = st.binary(min_size=4, max_size=400).map(lambda data: data[: len(data) & ~1])
cuts = st.lists(st.integers(0, 600), max_size=12)


def fed(data, at):
    """What comes of data that arrives in pieces, cut at these places."""
    sound = WavStream()
    edges = [0, *sorted({cut for cut in at if cut < len(data)}), len(data)]
    pieces = [sound.feed(data[start:end]) for start, end in pairwise(edges)]
    assert all(len(piece) % 2 == 0 for piece in pieces)
    return sound, b"".join(pieces)


@given(samples, cuts)
def test_bare_samples_come_whole_however_the_network_cuts_them(pcm, at):
    sound, got = fed(b"\x01\x00" + pcm, at)
    sound.finish()
    assert got == b"\x01\x00" + pcm
    assert sound.sample_rate == RATE


@given(samples, cuts, st.sampled_from([None, 0, 0x7FFF_FFFF, 0xFFFF_FFFF]))
def test_a_header_is_taken_off_whether_it_knows_the_size_or_not(pcm, at, size):
    sound, got = fed(wav(pcm, size=size), at)
    sound.finish()
    assert got == pcm


@given(samples, cuts)
def test_what_stands_around_the_samples_of_a_file_is_no_sound(pcm, at):
    file = wav(pcm)
    listed = b"LIST" + struct.pack("<I", 5) + b"INFO\0\0"
    sound, got = fed(file[:12] + listed + file[12:] + listed, at)
    sound.finish()
    assert got == pcm


def test_the_rate_is_that_of_the_header():
    file = wav(b"\0\0").replace(struct.pack("<I", RATE), struct.pack("<I", 24_000))
    sound, _ = fed(file, [])
    assert sound.sample_rate == 24_000


@pytest.mark.parametrize("data", [wav(bytes(100))[:-2], wav(bytes(100))[:30], b"RI", b"\1\0\1", wav(b"\1\0\1", size=0)])
def test_sound_that_ends_too_soon_is_an_error(data):
    sound, _ = fed(data, [])
    with pytest.raises(BackendFailedError, match="cut in the middle") as caught:
        sound.finish()
    assert caught.value.retry


@pytest.mark.parametrize(("was", "becomes"), [(b"\1\0\1\0", b"\1\0\2\0"), (b"\2\0\x10\0", b"\3\0\x18\0")])
def test_sound_that_is_not_16_bit_mono_is_refused(was, becomes):
    with pytest.raises(BackendFailedError, match="16-bit mono"):
        WavStream().feed(wav(bytes(100)).replace(was, becomes, 1))


def test_a_file_without_samples_is_not_read_for_ever():
    with pytest.raises(BackendFailedError, match="no WAV file"):
        WavStream().feed(b"RIFF\0\0\0\0WAVEjunk\xff\xff\xff\x7f" + bytes(HEADER_LIMIT))


@pytest.mark.parametrize("rate", [0, 1, 192_001])
def test_a_rate_that_nobody_can_play_is_refused(rate):
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    with pytest.raises(BackendFailedError, match=f"{rate} Hz"):
        WavStream().feed(b"RIFF\xff\xff\xff\xffWAVE" + form + b"data\xff\xff\xff\xff")
