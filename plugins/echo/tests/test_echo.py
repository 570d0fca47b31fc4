from modelhost.testing import (
    AddsVoices,
    EmbedsTexts,
    GeneratesText,
    Loaded,
    SummarizesTexts,
    SynthesizesSpeech,
    TokenizesText,
    TranscribesSpeech,
    chat,
)
from modelhost_echo import BEGIN, EchoBackend


class TestGenerate(GeneratesText):
    backend = EchoBackend
    options = {"prefix": "You said: "}


class TestTranscribe(TranscribesSpeech):
    backend = EchoBackend


class TestSynthesize(SynthesizesSpeech):
    backend = EchoBackend


class TestVoices(AddsVoices):
    backend = EchoBackend


class TestEmbed(EmbedsTexts):
    backend = EchoBackend


class TestSummarize(SummarizesTexts):
    backend = EchoBackend


class TestTokenize(TokenizesText):
    backend = EchoBackend

    def test_the_control_token_is_added_and_read_where_that_is_asked_for(self, loaded: Loaded) -> None:
        a, b = b"ab"
        assert self.answer(loaded, text="a").tokens == (BEGIN, a)
        assert self.answer(loaded, text="a<begin>b", parse_special=True, add_special=False).tokens == (a, BEGIN, b)
        assert BEGIN not in self.answer(loaded, text="a<begin>b", add_special=False).tokens
        assert self.answer(loaded, tokens=(BEGIN, a)).text == "<begin>a"

    def test_a_chat_is_a_line_a_message(self, loaded: Loaded) -> None:
        answer = self.answer(loaded, messages=chat("hi", "oh").messages)
        assert bytes(answer.tokens) == b"user: hi\nassistant: oh\n"
