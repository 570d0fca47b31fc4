import contextlib
import ctypes
import struct
from pathlib import Path

import llama_cpp
import pytest
from hypothesis import given, strategies as st
from modelhost import BadInputError, NotReadyError
from modelhost_gguf_chat import gguf

pytestmark = pytest.mark.hostile


def text(words):
    return struct.pack("<Q", len(words)) + words


def file(*, magic=b"GGUF", version=3, tensors=1, keys=2, kind=0, shape=(4, 2), offset=0, data=32):
    return (
        magic
        + struct.pack("<IQQ", version, tensors, keys)
        + text(b"general.architecture") + struct.pack("<I", 8) + text(b"llama")
        + text(b"words") + struct.pack("<IIQ", 9, 8, 2) + text(b"a") + text(b"bc")
        + text(b"weight") + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        + struct.pack("<IQ", kind, offset)
    )  # fmt: skip


def padded(head, data=32):
    return head + bytes(-len(head) % 32) + bytes(data)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("gguf") / "model.gguf"


def checked(place, data):
    place.write_bytes(data)
    return gguf.check(place)


def test_a_sound_file_passes_and_says_what_it_is(place):
    assert checked(place, padded(file())) == gguf.Header(architecture="llama", shards=1)


def test_the_weights_of_the_tests_pass(weights):
    assert gguf.check(weights).architecture == "llama"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "too short"),
        (b"<!DOCTYPE html>" * 9, "does not begin with GGUF"),
        (padded(file(version=1)), "version 1"),
        (padded(file(version=0x03000000)), "big-endian"),
        (padded(file(tensors=1 << 40)), "absurd"),
        (padded(file(keys=1 << 63)), "absurd"),
        (padded(file(keys=3)), "cut off, or a length"),
        (padded(file(), data=31), "cut off: "),
        (padded(file(offset=64)), "cut off: "),
        (padded(file(offset=7)), "not aligned"),
        (padded(file(shape=(1 << 40, 1 << 40))), "impossible shape"),
        (padded(file(shape=(1,) * 5)), "5 dimensions"),
        (padded(file(kind=2, shape=(33,))), "whole blocks"),
        (file()[:24] + struct.pack("<Q", 1 << 62) + file()[32:], "a length in it is wrong"),
    ],
)
def test_a_broken_file_is_refused_with_its_name_and_the_fault(place, data, why):
    with pytest.raises(BadInputError, match=why) as refused:
        checked(place, data)
    assert "model.gguf" in refused.value.message


def test_a_file_cut_off_anywhere_is_refused(place):
    whole = padded(file())
    for end in range(len(whole)):
        with pytest.raises(BadInputError):
            checked(place, whole[:end])


@given(at=st.integers(0, 200), byte=st.integers(0, 255))
def test_any_changed_byte_gives_a_header_or_a_refusal(place, at, byte):
    data = bytearray(padded(file()))
    data[at % len(data)] = byte
    with contextlib.suppress(BadInputError):
        assert checked(place, bytes(data)).architecture is not None


def test_block_sizes_are_those_of_the_library():
    lib = next((Path(llama_cpp.__file__).parent / "lib").glob("libggml-base.*"))
    ggml = ctypes.CDLL(str(lib))
    ggml.ggml_blck_size.restype = ctypes.c_int64
    ggml.ggml_type_size.restype = ctypes.c_size_t
    for kind, sizes in gguf.BLOCKS.items():
        assert (ggml.ggml_blck_size(kind), ggml.ggml_type_size(kind)) == sizes, kind


def test_a_folder_stands_for_the_one_model_in_it(tmp_path):
    with pytest.raises(NotReadyError, match=r"no \.gguf file"):
        gguf.find(tmp_path)
    (tmp_path / "model.gguf").touch()
    (tmp_path / "mmproj-model.gguf").touch()
    assert gguf.find(tmp_path) == (tmp_path / "model.gguf",)
    (tmp_path / "other.gguf").touch()
    with pytest.raises(BadInputError, match=r"model.gguf, other.gguf"):
        gguf.find(tmp_path)


def test_the_first_shard_stands_for_all_and_a_missing_one_is_named(tmp_path):
    names = [tmp_path / f"m-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    for name in names[:2]:
        name.touch()
    with pytest.raises(NotReadyError, match=r"m-00003-of-00003\.gguf"):
        gguf.find(tmp_path)
    names[2].touch()
    assert gguf.find(tmp_path) == gguf.find(names[0]) == tuple(names)
    with pytest.raises(BadInputError, match="first file"):
        gguf.find(names[1])


def test_a_missing_file_is_not_ready_and_named(tmp_path):
    with pytest.raises(NotReadyError, match=r"gone\.gguf"):
        gguf.find(tmp_path / "gone.gguf")
