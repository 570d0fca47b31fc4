import importlib.util
import os
import sys
from pathlib import Path

import pytest
from modelhost import (
    AudioPart,
    Blob,
    Context,
    Delta,
    GenerateRequest,
    Message,
    Segment,
    Source,
    TextPart,
    TranscribeRequest,
)
from modelhost_gemma_audio import GemmaAudioBackend, GemmaAudioOptions

sys.path.insert(0, str(Path(__file__).parent))

from sounds import wav


def turn(role, *content):
    parts = tuple(TextPart(text=one) if isinstance(one, str) else AudioPart(audio=Blob(wav(one))) for one in content)
    return Message(role=role, content=parts)


def chat(*content, **settings):
    """Make a request of one turn: texts and samples."""
    return GenerateRequest(messages=(turn("user", *content),), **settings)


class Gemma:
    """A loaded backend, and what it answers."""

    def __init__(self, folder, **options):
        options = GemmaAudioOptions(source=Source("tiny", path=folder), **options)
        self.backend = GemmaAudioBackend(options, threads=1)
        self.card = self.backend.load()
        self.model = self.backend.loaded
        self.torch = self.model.parts.engine._model

    def answer(self, request, context=None):
        return list(self.backend.generate(request, context or Context()))

    def text(self, request):
        return "".join(event.text for event in self.answer(request) if isinstance(event, Delta))

    def tokens(self, request, limit=20):
        """Return the likeliest tokens behind a request's prompt, words or not."""
        from modelhost_gemma_audio.engine import Row
        from modelhost_gemma_audio.sampling import Sampling

        clips, _ = self.model.chat.sounds(request.messages)
        row = Row(
            job=self,
            prompt=self.model.chat.prompt(request, clips),
            clips=tuple(clips),
            sampling=Sampling(),
            limit=limit,
            ends=frozenset(),
        )
        self.model.parts.engine.submit(row)
        return list(row.tokens())

    def events(self, samples, **fields):
        audio = Blob(samples if isinstance(samples, bytes) else wav(samples))
        return list(self.backend.transcribe(TranscribeRequest(audio=audio, **fields), Context()))

    def segments(self, samples, **fields):
        return [event for event in self.events(samples, **fields) if isinstance(event, Segment)]


@pytest.fixture(scope="session")
def tiny():
    """The makers of tiny checkpoints."""
    import tiny

    return tiny


@pytest.fixture(scope="session")
def folder(tiny, tmp_path_factory):
    """Return the folder of a tiny checkpoint by the name of its architecture."""
    made = {}

    def folder(name):
        if name not in made:
            made[name] = tiny.MADE[name](tmp_path_factory.mktemp(name))
        return made[name]

    return folder


@pytest.fixture(scope="session")
def load():
    loaded = []

    def load(folder, **options):
        loaded.append(Gemma(folder, **{"warm_up": False, **options}))
        return loaded[-1]

    yield load
    for gemma in loaded:
        gemma.backend.unload()


@pytest.fixture(scope="session", params=["gemma3n", "gemma4", "gemma4_unified"])
def hearing(request, load, folder):
    """A model that hears, with random weights."""
    return load(folder(request.param))


@pytest.fixture(scope="session")
def gemma4(load, folder):
    return load(folder("gemma4"))


@pytest.fixture(scope="session")
def saying(tiny, load, tmp_path_factory):
    """Load a model that answers anything with some words."""
    made = {}

    def saying(*words, **options):
        key = (words, *options.items())
        if key not in made:
            made[key] = load(tiny.gemma4_that_says(tmp_path_factory.mktemp("saying"), *words), **options)
        return made[key]

    return saying


needs_torchao = pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="needs torchao")


def pytest_collection_modifyitems(items):
    """Leave out what takes long and has a shorter form beside it, unless `SLOW_TESTS` asks for it."""
    if os.environ.get("SLOW_TESTS"):
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="SLOW_TESTS=1 runs it"))
