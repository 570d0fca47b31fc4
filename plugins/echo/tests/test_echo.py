from modelhost.testing import EmbedsTexts, GeneratesText, SummarizesTexts, SynthesizesSpeech, TranscribesSpeech
from modelhost_echo import EchoBackend


class TestGenerate(GeneratesText):
    backend = EchoBackend
    options = {"prefix": "You said: "}


class TestTranscribe(TranscribesSpeech):
    backend = EchoBackend


class TestSynthesize(SynthesizesSpeech):
    backend = EchoBackend


class TestEmbed(EmbedsTexts):
    backend = EchoBackend


class TestSummarize(SummarizesTexts):
    backend = EchoBackend
