from collections.abc import Iterator

import pytest
from modelhost.testing import EmbedsTexts, GeneratesText, Loaded, SynthesizesSpeech, TranscribesSpeech
from modelhost_openai_api import OpenaiApiBackend


class OfTheStandIn:
    backend = OpenaiApiBackend

    @pytest.fixture(scope="class")
    @classmethod
    def loaded(cls, stand_in_url: str) -> Iterator[Loaded]:
        loaded = cls.load({**cls.options, "base_url": stand_in_url})
        yield loaded
        loaded.close()


class TestGenerate(OfTheStandIn, GeneratesText):
    options = {"abilities": ["generate"], "features": ["tools"]}  # what the stand-in can do


class TestTranscribe(OfTheStandIn, TranscribesSpeech):
    options = {"abilities": ["transcribe"]}


class TestTranscribeWithoutTimes(OfTheStandIn, TranscribesSpeech):
    options = {"abilities": ["transcribe"], "response_format": "json"}


class TestSynthesize(OfTheStandIn, SynthesizesSpeech):
    options = {"abilities": ["synthesize"]}


class TestSynthesizeWav(OfTheStandIn, SynthesizesSpeech):
    options = {"abilities": ["synthesize"], "speech_format": "wav"}


class TestEmbed(OfTheStandIn, EmbedsTexts):
    options = {"abilities": ["embed"], "batch_size": 2}
