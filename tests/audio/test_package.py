"""The audio package as plugins see it: light to import, and a backend that transcribes is a few lines."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import modelhost.audio
import numpy as np
import pytest
from modelhost import Backend, Blob, Context, Done, ModelCard, Options, Segment, TranscribeEvent, TranscribeRequest, hookimpl
from modelhost.audio import Encoder, Samples, decode, normalize, remove_offset, windows
from modelhost.testing import Loaded

SCORE = ("tone", 1.0, "silence", 1.0, "tone", 2.0, "silence", 8.0, "tone", 1.0)


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_importing_the_package_imports_neither_pyav_nor_numpy() -> None:
    done = python("import sys, modelhost.audio; print(*({'av', 'numpy'} & set(sys.modules)))")
    assert done.stdout.strip() == "", done.stderr


@pytest.mark.parametrize("library", ["av", "numpy"])
def test_without_the_extra_the_error_says_what_to_install(library: str) -> None:
    done = python(f"import sys; sys.modules[{library!r}] = None\nfrom modelhost.audio import decode")
    assert f"{library} is not installed, which modelhost.audio needs" in done.stderr
    assert re.search(r'pip install "av[<>=,\d.]+" "numpy[<>=,\d.]+"', done.stderr), "what is on an index, by itself"


def test_every_exported_name_is_there_and_type_checkers_see_the_same() -> None:
    tree = ast.parse(Path(modelhost.audio.__file__).read_text())
    names = {alias.asname for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names if alias.asname}
    assert names == set(modelhost.audio._HOME_OF)
    assert all(hasattr(modelhost.audio, name) for name in names)
    with pytest.raises(AttributeError, match="no_such_name"):
        modelhost.audio.no_such_name  # noqa: B018


class Counting(Backend[Options]):
    """A recogniser that hears one thing in the middle of whatever it is given."""

    def load(self) -> ModelCard:
        return ModelCard(inputs=("audio",))

    @hookimpl
    def transcribe(self, request: TranscribeRequest, context: Context) -> Iterator[TranscribeEvent]:
        assert request.audio is not None
        samples = decode(request.audio, format=request.format, sample_rate=request.sample_rate, context=context)
        for number, window in enumerate(windows(normalize(remove_offset(samples)), longest=30)):
            yield window.place(self._recognise(number, window.samples))
        yield Done()

    def _recognise(self, number: int, samples: Samples) -> Segment:
        seconds = len(samples) / 16_000
        return Segment(text=f"window {number}", start=seconds / 2, end=seconds + 5)


def recording() -> bytes:
    """MP3 of the score: tones that come and go four times a second, 30 dB above a hiss."""
    rng = np.random.default_rng(0)
    parts = []
    for kind, seconds in zip(SCORE[::2], SCORE[1::2], strict=True):
        at = np.arange(int(float(seconds) * 24_000)) / 24_000
        chord = sum(np.sin(2 * np.pi * hertz * at) for hertz in range(150, 4000, 150)) / 40
        loud = chord * (0.55 - 0.45 * np.cos(8 * np.pi * at)) if kind == "tone" else 0
        parts.append(loud + 0.003 * rng.normal(size=len(at)))
    encoder = Encoder("mp3", 24_000)
    return encoder.encode((np.concatenate(parts) * 32767).astype("<i2").tobytes()) + encoder.finish()


def test_a_backend_that_transcribes_is_decode_windows_model_place() -> None:
    loaded = Loaded(Counting, {})
    *segments, done = loaded.events("transcribe", TranscribeRequest(audio=Blob(recording()), format="wav"))
    loaded.close()
    assert isinstance(done, Done)
    assert [segment.text for segment in segments] == ["window 0", "window 1"]
    assert [segment.start for segment in segments] == pytest.approx([2.1, 12.5], abs=0.3)
    assert [segment.end for segment in segments] == pytest.approx([4.2, 13.05], abs=0.3)
