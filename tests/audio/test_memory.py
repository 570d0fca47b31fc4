"""Decoded sound has a bound, whatever comes at once; and somebody always gets on."""

import threading
from typing import Any

import pytest
from modelhost import Blob, Context
from modelhost.audio import SAMPLE_RATE, Encoder, SoundMemory, decode
from modelhost.audio.memory import SAMPLE_BYTES

SECOND = SAMPLE_RATE * SAMPLE_BYTES


def flac(seconds: int) -> Blob:
    encoder = Encoder("flac", SAMPLE_RATE)
    return Blob(encoder.encode(bytes(2 * SAMPLE_RATE * seconds)) + encoder.finish())


def test_many_long_recordings_take_no_more_than_their_bound() -> None:
    memory = SoundMemory(12 * SECOND, longest=10)
    sound, highest, read = flac(9), [0], []

    def work() -> None:
        with memory.recording() as held:
            samples = decode(sound, held=held)
            highest[0] = max(highest[0], memory.used)
            read.append(len(samples))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert read == [9 * SAMPLE_RATE] * 8
    assert 9 * SECOND <= highest[0] <= 12 * SECOND
    assert memory.used == 0


def test_a_short_one_need_not_wait_for_a_long_one() -> None:
    memory = SoundMemory(20 * SECOND, longest=10)
    with memory.recording() as long, memory.recording() as short:
        long.grow(2 * SECOND)
        short.grow(9 * SECOND)
        assert memory.used == 11 * SECOND


def test_who_waits_for_memory_can_be_cancelled() -> None:
    memory = SoundMemory(0, longest=10)
    with memory.recording() as first:
        first.grow(10 * SECOND)
        context = Context()
        ended = threading.Event()
        waits: list[Any] = []

        def wait() -> None:
            with memory.recording(context) as second:
                waits.append(second)
                second.grow(5 * SECOND)
                ended.set()

        thread = threading.Thread(target=wait)
        thread.start()
        context.cancel()
        assert ended.wait(10)
        thread.join(10)
    assert memory.used == 0


def test_the_bound_is_at_least_one_recording() -> None:
    assert SoundMemory(1, longest=60).most >= 60 * SECOND


@pytest.mark.parametrize("failing", [b"no sound"])
def test_what_cannot_be_read_gives_its_memory_back(failing: bytes) -> None:
    memory = SoundMemory(0, longest=10)
    with pytest.raises(Exception, match="recording"), memory.recording() as held:
        decode(Blob(failing), held=held)
    with memory.recording() as held:
        held.grow(10 * SECOND)
    assert memory.used == 0
