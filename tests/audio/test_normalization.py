"""Cleaning recordings: one gain for all of it, no more than is safe, and silence stays silence."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from modelhost.audio import SAMPLE_RATE, Samples, normalize, remove_offset
from modelhost.audio.normalization import LARGEST_GAIN, LOUDNESS, PEAK, speech_loudness


def noise(seconds: float, decibels: float) -> Samples:
    rng = np.random.default_rng(0)
    return (10 ** (decibels / 20) * rng.normal(size=int(seconds * SAMPLE_RATE))).clip(-1, 1).astype(np.float32)


def test_an_offset_is_taken_away_and_nothing_else() -> None:
    sound = noise(1, -30)
    sound -= sound.mean()
    assert np.allclose(remove_offset(sound + np.float32(0.2)), sound, atol=1e-6)
    assert remove_offset(sound).dtype == np.float32


def test_the_offset_of_hours_is_found_exactly() -> None:
    assert abs(remove_offset(np.full(50_000_000, 0.1, np.float32)).max()) < 1e-7


@pytest.mark.parametrize("decibels", [-45, -35, -26, -18])
def test_speech_of_any_loudness_becomes_equally_loud(decibels: float) -> None:
    assert speech_loudness(normalize(noise(2, decibels))) == pytest.approx(LOUDNESS, abs=0.5)


def test_pauses_do_not_count() -> None:
    speech = noise(1, -40)
    with_pauses = np.concatenate([speech, noise(9, -75)])
    assert normalize(with_pauses)[: len(speech)] == pytest.approx(normalize(speech), rel=0.02)


def test_a_click_keeps_the_gain_low_rather_than_be_cut_off() -> None:
    sound = noise(2, -40)
    sound[100] = 0.5
    assert np.abs(normalize(sound)).max() == pytest.approx(10 ** (PEAK / 20), abs=0.001)


def test_the_gain_has_a_limit() -> None:
    sound = noise(1, -78)
    assert np.abs(normalize(sound)).max() / np.abs(sound).max() == pytest.approx(10 ** (LARGEST_GAIN / 20), rel=0.001)


@pytest.mark.parametrize(
    "sound", [np.zeros(0), np.zeros(100), np.zeros(50_000), noise(2, -85)], ids=["none", "short", "zeros", "hiss"]
)
def test_silence_stays_as_it_is(sound: Samples) -> None:
    quiet = sound.astype(np.float32)
    assert np.array_equal(normalize(quiet), quiet)
    assert len(remove_offset(quiet)) == len(quiet)


@given(st.floats(-70, -1), st.floats(0.05, 2))
def test_nothing_is_made_louder_than_full_scale(decibels: float, seconds: float) -> None:
    sound = noise(seconds, decibels)
    assert np.abs(normalize(sound)).max() <= max(np.abs(sound).max(), 10 ** (PEAK / 20) + 1e-6)
