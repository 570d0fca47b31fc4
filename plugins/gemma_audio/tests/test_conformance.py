"""What every backend keeps, kept by tiny models; the ones that transcribe say something, so that there is something to keep."""

from typing import ClassVar

import pytest
from modelhost import Blob, TranscribeRequest
from modelhost.testing import GeneratesText, TokenizesText, TranscribesSpeech
from modelhost_gemma_audio import GemmaAudioBackend
from sounds import SENTENCE, voiced, wav


class Tiny:
    backend = GemmaAudioBackend
    options: ClassVar = {"source": "", "warm_up": False}
    patience, budget = 120.0, 600.0  # for machines that are busy with other tests

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def checkpoint(cls, tiny, tmp_path_factory):
        cls.options["source"] = str(cls.make(tiny, tmp_path_factory.mktemp("checkpoint")))


class OnGemma3n(Tiny):
    @classmethod
    def make(cls, tiny, folder):
        return tiny.gemma3n(folder)


class OnGemma4(Tiny):
    @classmethod
    def make(cls, tiny, folder):
        return tiny.gemma4_that_says(folder, *SENTENCE)


class TestGemma3nGenerates(OnGemma3n, GeneratesText):
    # Weights by chance say bytes that are no text, and what could still become a character is held back.
    test_characters_are_whole = None
    test_the_text_comes_in_pieces = None


class TestGemma4Generates(OnGemma4, GeneratesText): ...


@pytest.mark.slow  # Gemma 4 transcribes by the same code
class TestGemma3nTranscribes(OnGemma3n, TranscribesSpeech): ...


class TestGemma4Transcribes(OnGemma4, TranscribesSpeech):
    request = TranscribeRequest(audio=Blob(wav(voiced(40.0))), format="wav")


class TestGemma4Tokenizes(OnGemma4, TokenizesText): ...
