"""What a recording is, by how it begins."""

import pytest
from hypothesis import given, strategies as st
from modelhost.audio.formats import kind_of, wav_head

PCM = st.lists(st.integers(-40, 40), max_size=3000).map(lambda all_: b"".join(n.to_bytes(2, "little", signed=True) for n in all_))


@given(PCM)
def test_quiet_pcm_is_never_taken_for_a_file(pcm: bytes) -> None:
    assert kind_of(pcm) == ""


@given(st.binary(max_size=4000), st.integers(0, 4000))
def test_what_is_known_of_a_beginning_stays_true(data: bytes, length: int) -> None:
    known = kind_of(data[:length], complete=False)
    assert known is None or known == kind_of(data)


@pytest.mark.parametrize(
    "data", [b"\xff\xfb\x90\x64" + bytes(413), b"\xff\xf1\x50\x80\x2e\x7f\xfc" + bytes(364)], ids=["mp3", "aac in ADTS"]
)
def test_one_head_of_a_frame_may_be_chance_and_two_are_not(data: bytes) -> None:
    assert kind_of(data[:50], complete=False) is None
    assert kind_of(data) == ""
    assert kind_of(data + data) in ("mp3", "aac")
    assert kind_of(data + bytes(2000)) == ""


@given(st.binary(max_size=200))
def test_no_head_of_a_wav_file_breaks_its_reader(data: bytes) -> None:
    head = wav_head(b"RIFF" + data)
    assert head is None or head.start <= len(data) + 4
    wav_head(b"RIFF....WAVE" + data)
