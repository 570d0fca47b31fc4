"""What a backend must keep for one ability."""

import asyncio
import io
import math
import struct
import wave
from typing import Any, ClassVar

import pytest

from modelhost.errors import BadInputError
from modelhost.testing.backends import BackendTests, Loaded
from modelhost.types import (
    Ability,
    AudioChunk,
    Blob,
    ChoiceDone,
    Delta,
    Done,
    EmbedRequest,
    GenerateRequest,
    Message,
    Partial,
    Segment,
    SummarizeRequest,
    SynthesizeRequest,
    TextPart,
    TokenizeRequest,
    Tokens,
    ToolDelta,
    TranscribeRequest,
    Vectors,
    Voices,
    VoiceSample,
    VoicesRequest,
)


def chat(*turns: str, **settings: Any) -> GenerateRequest:
    """Make a conversation: the turns are the user's and the assistant's by turns."""
    roles = ("user", "assistant")
    messages = tuple(Message(role=roles[at % 2], content=(TextPart(text=text),)) for at, text in enumerate(turns))  # type: ignore[arg-type]
    return GenerateRequest(messages=messages, **settings)


def tone(seconds: float = 1.0, rate: int = 16_000) -> bytes:
    """Make a WAV file with a tone of 440 Hz: 16-bit, mono."""
    samples = (int(12_000 * math.sin(math.tau * 440 * n / rate)) for n in range(int(seconds * rate)))
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(b"".join(struct.pack("<h", sample) for sample in samples))
    return file.getvalue()


class GeneratesText(BackendTests):
    """Tests of `generate`."""

    ability: ClassVar[Ability] = "generate"
    request: ClassVar[Any] = chat("Count from one to ten, please.", max_tokens=16)

    def test_the_text_comes_in_pieces(self, loaded: Loaded) -> None:
        """A model that streams gives more than one piece of a longer answer."""
        events = loaded.events("generate", self.request)
        pieces = [event for event in events if isinstance(event, (Delta, ToolDelta))]
        assert pieces
        assert len(pieces) > 1 or "streaming" not in loaded.card.features

    def test_no_piece_is_empty(self, loaded: Loaded) -> None:
        """Empty pieces cost a frame and a chunk each, and say nothing."""
        for event in loaded.events("generate", self.request):
            assert not isinstance(event, Delta) or event.text or event.reasoning or event.logprobs

    def test_max_tokens_is_kept(self, loaded: Loaded) -> None:
        """An answer that is cut says so, and counts no more than was allowed."""
        done = loaded.events("generate", chat("Tell me a long story about the sea.", max_tokens=3))[-1]
        assert done.usage.output_tokens <= 3
        assert done.reason in ("length", "stop")

    def test_choices_stay_apart(self, loaded: Loaded) -> None:
        """Without `n` there is one choice, number 0."""
        for event in loaded.events("generate", self.request):
            if isinstance(event, (Delta, ToolDelta, ChoiceDone)):
                assert event.index == 0


class TranscribesSpeech(BackendTests):
    """Tests of `transcribe`."""

    ability: ClassVar[Ability] = "transcribe"
    request: ClassVar[Any] = TranscribeRequest(audio=Blob(tone()), format="wav")

    def test_segments_follow_each_other_in_time(self, loaded: Loaded) -> None:
        """Starts never go back, and no segment ends before it starts."""
        segments = [event for event in loaded.events("transcribe", self.request) if isinstance(event, Segment)]
        assert [segment.start for segment in segments] == sorted(segment.start for segment in segments)
        assert all(segment.start <= segment.end for segment in segments)

    def test_a_recording_brings_no_partial_results(self, loaded: Loaded) -> None:
        """Those are for live audio."""
        assert not any(isinstance(event, Partial) for event in loaded.events("transcribe", self.request))


class SynthesizesSpeech(BackendTests):
    """Tests of `synthesize`."""

    ability: ClassVar[Ability] = "synthesize"
    request: ClassVar[Any] = SynthesizeRequest(text="This is a test. It has two sentences.")

    def test_the_sound_is_whole_samples_at_one_rate(self, loaded: Loaded) -> None:
        """PCM of 16 bits: an odd byte would turn the rest into noise."""
        chunks = [event for event in loaded.events("synthesize", self.request) if isinstance(event, AudioChunk)]
        assert chunks
        assert len({chunk.sample_rate for chunk in chunks}) == 1
        assert all(len(chunk.data) % 2 == 0 and chunk.data for chunk in chunks)


class AddsVoices(BackendTests):
    """Tests of `voices`, with a voice made of `sample`."""

    ability: ClassVar[Ability] = "voices"
    request: ClassVar[Any] = VoicesRequest()
    sample: ClassVar[VoiceSample] = VoiceSample(audio=Blob(tone()), text="This is a test.")

    def names(self, loaded: Loaded, **asked: Any) -> tuple[str, ...]:
        """Ask, and give the names in the one event before `Done`."""
        voices, done = loaded.events("voices", VoicesRequest(**asked))
        assert isinstance(voices, Voices)
        assert isinstance(done, Done)
        return voices.names

    def test_a_voice_is_added_listed_and_deleted(self, loaded: Loaded) -> None:
        """Each answer has all the names there are by then."""
        before = self.names(loaded)
        assert set(self.names(loaded, add="kit-voice", samples=(self.sample,))) == {*before, "kit-voice"}
        assert "kit-voice" in self.names(loaded)
        assert set(self.names(loaded, delete="kit-voice")) == set(before)

    def test_a_voice_that_is_not_there_cannot_be_deleted(self, loaded: Loaded) -> None:
        """The caller named it, so it is the caller's error, and every model has one code for it."""
        with pytest.raises(BadInputError) as refused:
            self.names(loaded, delete="no-such-voice")
        assert refused.value.code == "unknown_voice"


class EmbedsTexts(BackendTests):
    """Tests of `embed`."""

    ability: ClassVar[Ability] = "embed"
    request: ClassVar[Any] = EmbedRequest(inputs=("a cat", "a dog", "the theory of relativity"))

    def test_there_is_one_unit_vector_for_each_input(self, loaded: Loaded) -> None:
        """In order, without gaps, little-endian float32, of length 1."""
        rows: list[tuple[float, ...]] = []
        for event in loaded.events("embed", self.request):
            if isinstance(event, Vectors):
                assert event.first == len(rows)
                rows += struct.iter_unpack(f"<{event.dimensions}f", event.data)
        assert len(rows) == len(self.request.inputs)
        assert all(math.isclose(math.hypot(*row), 1.0, rel_tol=1e-3) for row in rows)

    def test_the_tokens_of_all_inputs_are_those_of_the_call(self, loaded: Loaded) -> None:
        """Where they are counted one by one, which a backend need not do."""
        *events, done = loaded.events("embed", self.request)
        tokens = [count for event in events for count in event.tokens]
        assert not tokens or (len(tokens), sum(tokens)) == (len(self.request.inputs), done.usage.input_tokens)

    def test_equal_inputs_give_equal_vectors(self, loaded: Loaded) -> None:
        """Whatever stands beside them."""
        data = b""
        dimensions = 0
        for event in loaded.events("embed", EmbedRequest(inputs=("same", "other", "same"))):
            if isinstance(event, Vectors):
                data += event.data
                dimensions = event.dimensions
        first, _, last = struct.iter_unpack(f"<{dimensions}f", data)
        assert all(math.isclose(a, b, abs_tol=1e-5) for a, b in zip(first, last, strict=True))


class SummarizesTexts(BackendTests):
    """Tests of `summarize`."""

    ability: ClassVar[Ability] = "summarize"
    request: ClassVar[Any] = SummarizeRequest(text=Blob(b"The cat sat on the mat. Then it slept. " * 20))

    def test_the_summary_says_something(self, loaded: Loaded) -> None:
        """There is text in it."""
        events = loaded.events("summarize", self.request)
        assert "".join(event.text for event in events if isinstance(event, Delta)).strip()


class TokenizesText(BackendTests):
    """Tests of `tokenize`."""

    ability: ClassVar[Ability] = "tokenize"
    request: ClassVar[Any] = TokenizeRequest(text="The cat sat on the mat.")

    def answer(self, loaded: Loaded, **asked: Any) -> Tokens:
        """Ask, and give the one event before `Done`."""
        tokens, done = loaded.events("tokenize", TokenizeRequest(**asked))
        assert isinstance(tokens, Tokens)
        assert isinstance(done, Done)
        return tokens

    @pytest.mark.parametrize(
        "text",
        ["The cat sat on the mat.", " two  spaces , at\nthe ends\t ", "naïve café, 日本語", "🙂👍🏽 and 🇩🇪", "a" * 1000],
    )
    def test_text_survives_the_way_to_tokens_and_back(self, loaded: Loaded, text: str) -> None:
        """No space is lost or made up, and characters of several tokens are whole again."""
        there = self.answer(loaded, text=text, add_special=False)
        assert there.tokens
        assert there.text == ""
        back = self.answer(loaded, tokens=there.tokens)
        assert (back.tokens, back.text) == (there.tokens, text)

    def test_pieces_are_the_bytes_of_each_token(self, loaded: Loaded) -> None:
        """As many as tokens; joined they are the text, but for a space some models put in front."""
        for text in ("The cat sat.", "日本語 🙂"):
            answer = self.answer(loaded, text=text, add_special=False)
            if answer.pieces:
                assert len(answer.pieces) == len(answer.tokens)
                assert b"".join(answer.pieces).removeprefix(b" ") == text.encode()

    def test_nothing_is_no_tokens_and_back(self, loaded: Loaded) -> None:
        """An empty text is a text."""
        assert self.answer(loaded, text="", add_special=False).tokens == ()
        assert self.answer(loaded, tokens=()).text == ""

    def test_half_a_character_becomes_a_replacement_character(self, loaded: Loaded) -> None:
        """Tokens may be cut anywhere: that is no error."""
        tokens = self.answer(loaded, text="🙂", add_special=False).tokens
        if len(tokens) > 1:
            assert "\N{REPLACEMENT CHARACTER}" in self.answer(loaded, tokens=tokens[:1]).text

    @pytest.mark.parametrize("token", [-1, 2**31, 2**62])
    def test_a_token_that_does_not_exist_is_refused(self, loaded: Loaded, token: int) -> None:
        """The caller named it, so it is the caller's error."""
        with pytest.raises(BadInputError):
            self.answer(loaded, tokens=(token,))

    def test_calls_are_not_counted(self, loaded: Loaded) -> None:
        """The host makes several at once, even of a model with one place."""

        async def all_at_once() -> list[list[Any]]:
            return await asyncio.gather(*(loaded.collect("tokenize", self.request) for _ in range(4)))

        answers = loaded.run(all_at_once())
        assert all(answer == answers[0] for answer in answers)
