"""What is wrong with bytes that should be 16-bit little-endian mono PCM, told by the bytes alone."""

import math
import sys
from array import array
from collections.abc import Sequence
from itertools import pairwise

_FILES = {
    b"RIFF": "a WAV file's header",
    b"OggS": "an Ogg file's header",
    b"fLaC": "a FLAC file's header",
    b"ID3": "an MP3 file's header",
    b"\xff\xfb": "an MP3 file's header",
}

ENOUGH = 2000
"""Samples below which nothing is said of their form. Chosen, because a beep of a few periods may look like anything."""


def what_is_wrong(data: bytes) -> str | None:
    """Return what the bytes look like where that is no 16-bit little-endian mono PCM; None where nothing speaks against it."""
    for magic, name in _FILES.items():
        if data.startswith(magic):
            return f"begins with {name}; yield the samples alone"
    if len(data) % 2:
        return "has an odd number of bytes, so it is not made of 16-bit samples; cut where a sample ends"
    samples = _samples("h", data)
    if not any(samples):
        return "is silent from beginning to end"
    if len(samples) < ENOUGH:
        return None
    for code, name in (("f", "float32"), ("d", "float64")):
        if _are_floats(_samples(code, data)):
            return f"looks like {name}; multiply by 32767, round, and yield 16-bit integers"
    if _are_bytes(data):
        return "looks like 8-bit samples; yield 16-bit integers"
    rough = _roughness(samples)
    swapped = array("h", samples)
    swapped.byteswap()
    if _roughness(swapped) < rough / 2:
        return "looks like big-endian samples; yield little-endian ones"
    left, right = samples[0 : len(samples) // 2 * 2 : 2], samples[1::2]
    if left == right and any(a != b for a, b in zip(right, left[1:], strict=False)):
        return "looks like two equal channels; yield one"
    return None


def _samples(code: str, data: bytes) -> "array[float]":
    found: array[float] = array(code)
    found.frombytes(data[: len(data) // found.itemsize * found.itemsize])
    if sys.byteorder == "big":
        found.byteswap()
    return found


def _are_floats(values: "array[float]") -> bool:
    """Return whether the numbers look like float samples: from -1 to 1, hardly any next to nothing. Integers read so do not."""
    nonzero = [abs(value) for value in values if value]
    sound = sum(1e-7 < value < 4 for value in nonzero if math.isfinite(value))
    return len(nonzero) > ENOUGH // 4 and sound > 0.95 * len(nonzero)


def _are_bytes(data: bytes) -> bool:
    """Return whether the two bytes of a sample are neighbours in a sound: in real samples the lower one is independent."""
    pairs = zip(data[0::2], data[1::2], strict=True)
    loud = [(low, high) for low, high in pairs if 4 <= high < 252]  # of a quiet sample the upper byte is the lower one's sign
    if len(loud) < ENOUGH // 4:
        return False
    signed = [(low - 256 * (low > 127), high - 256 * (high > 127)) for low, high in loud]
    return any(_correlation(*zip(*one, strict=True)) > 0.7 for one in (loud, signed))


def _roughness(samples: "array[float]") -> float:
    """Return how far neighbours are apart, in parts of the loudness: sound is smooth, noise is not."""
    steps = sum(abs(b - a) for a, b in pairwise(samples))
    return steps / (sum(map(abs, samples)) or 1)


def _correlation(one: Sequence[int], other: Sequence[int]) -> float:
    n = len(one)
    mean, mean_of_other = sum(one) / n, sum(other) / n
    both = sum((a - mean) * (b - mean_of_other) for a, b in zip(one, other, strict=True))
    spread = math.sqrt(sum((a - mean) ** 2 for a in one) * sum((b - mean_of_other) ** 2 for b in other))
    return both / spread if spread else 0.0
