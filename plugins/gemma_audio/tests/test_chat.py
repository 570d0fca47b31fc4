"""Chat, with and without sound."""

import json
import time

import pytest
import torch
from conftest import chat, said
from modelhost import (
    BadInputError,
    Context,
    Delta,
    Done,
    GenerateRequest,
    TokenizeRequest,
    Tokens,
    Tool,
    ToolCall,
    ToolChoice,
    UnsupportedError,
)
from modelhost.types import Message, TextPart
from sounds import SENTENCE, voiced

WORDS = "The quick brown fox jumps."


def test_an_answer_comes_token_by_token(saying):
    *deltas, done = saying(*SENTENCE).answer(chat("Hello."))
    assert [delta.text for delta in deltas] == [" The", " quick", " brown", " fox", " jumps."]
    assert done.reason == "stop"
    assert done.usage.output_tokens == 5


def test_sound_is_heard(hearing):
    """Another recording gives another answer, and its tokens are counted."""
    answers = [
        hearing.answer(chat(voiced(3.0, pitch=pitch), "What is it?", max_tokens=20, temperature=0.0)) for pitch in (120, 400)
    ]
    assert answers[0] != answers[1]
    usage = answers[0][-1].usage
    assert usage.audio_seconds == 3.0
    assert usage.audio_tokens == (188 if "Gemma3n" in type(hearing.torch).__name__ else 75)
    assert usage.input_tokens > usage.audio_tokens


def test_several_recordings_in_a_chat_are_heard_in_order(hearing):
    low, high = voiced(2.0, pitch=120), voiced(2.0, pitch=400)
    one, other = (
        hearing.text(chat(*sounds, "Compare.", max_tokens=20, temperature=0.0)) for sounds in ((low, high), (high, low))
    )
    assert one != other


def test_sound_longer_than_the_window_is_refused_not_cut(hearing):
    with pytest.raises(BadInputError, match=r"35 s.*30 s at once") as caught:
        hearing.answer(chat(voiced(35.0), "What is it?"))
    assert caught.value.code == "audio_too_long"


@pytest.mark.parametrize(
    "text", ["Transcribe this audio", "Context: A talk on foxes.\n\nTranscribe this audio", "Please transcribe."]
)
def test_a_transcript_that_is_asked_for_has_no_limit_of_length(saying, text):
    *deltas, done = saying(*SENTENCE).answer(chat(text, voiced(70.0), language="en"))
    assert "".join(delta.text for delta in deltas) == " ".join([WORDS] * len(deltas))
    assert len(deltas) >= 3
    assert done.usage.audio_seconds == 70.0


def test_the_context_of_a_transcript_is_what_stands_behind_the_word(gemma4):
    from modelhost_gemma_audio.asking import transcript_asked

    turn = said("user", "Context: Technical discussion\nabout machine learning\n\nTranscribe this audio", voiced(1.0))
    assert transcript_asked([turn]).context == "Technical discussion\nabout machine learning"
    assert transcript_asked([said("system", "Names: Ada."), turn]).context.startswith("Names: Ada.\n")
    assert transcript_asked([said("user", "Transcribe this audio")]) is None
    assert transcript_asked([said("user", "What does transcribe mean?", voiced(1.0))]) is None
    assert transcript_asked([said("user", voiced(1.0))]) is None
    assert transcript_asked([]) is None


def test_stop_strings_end_an_answer_and_are_not_in_it(saying):
    gemma = saying(*SENTENCE)
    *_, done = events = gemma.answer(chat("Hello.", stop=("own fo",)))
    assert "".join(event.text for event in events[:-1]) == " The quick br"
    assert done.reason == "stop"


def test_max_tokens_ends_an_answer_by_length(saying):
    *_, done = saying(*SENTENCE).answer(chat("Hello.", max_tokens=2))
    assert (done.reason, done.usage.output_tokens) == ("length", 2)


def test_the_same_seed_gives_the_same_answer_and_another_one_another(hearing):
    def answer(seed):
        return hearing.text(chat("Hello.", seed=seed, temperature=1.0, max_tokens=20))

    assert answer(1) == answer(1)
    assert answer(1) != answer(2)


def test_bias_changes_what_is_chosen(saying):
    gemma = saying(*SENTENCE)
    quick = gemma.model._vocabulary.tokenizer.convert_tokens_to_ids(" quick")
    assert "quick" not in gemma.text(chat("Hello.", max_tokens=5, temperature=0.0, logit_bias={quick: -100.0}))
    with pytest.raises(BadInputError, match="logit_bias"):
        gemma.answer(chat("Hello.", logit_bias={10**6: 1.0}))


def test_ignore_eos_goes_on_behind_the_end(saying):
    *_, done = saying(*SENTENCE).answer(chat("Hello.", max_tokens=12, ignore_eos=True))
    assert (done.reason, done.usage.output_tokens) == ("length", 12)


def test_thoughts_are_reasoning_and_counted(saying):
    gemma = saying("<|channel>", "thought\n", "Hm.", "<channel|>", "Yes.", "<turn|>")
    *deltas, done = gemma.answer(chat("Hello.", reasoning_effort="low"))
    assert "".join(delta.reasoning for delta in deltas) == "Hm."
    assert "".join(delta.text for delta in deltas) == "Yes."
    assert 0 < done.usage.reasoning_tokens < done.usage.output_tokens


def test_reasoning_is_asked_for_in_the_prompt(gemma4):
    think = gemma4.model._vocabulary.tokenizer.convert_tokens_to_ids("<|think|>")
    prompts = [gemma4.model._prompt(chat("Hi.", reasoning_effort=effort), []) for effort in ("low", "none", None)]
    assert [think in prompt for prompt in prompts] == [True, False, False]


def test_a_tool_call_has_its_name_and_arguments_as_json(saying):
    gemma = saying("<|tool_call>", "call:weather", "{days:3}", "<tool_call|>", "<|tool_response>")
    *_, call, done = gemma.answer(chat("Weather?", tools=(Tool(name="weather"),)))
    assert (call.name, json.loads(call.arguments), call.call) == ("weather", {"days": 3}, 0)
    assert call.id
    assert done.reason == "tool_calls"


def test_a_tool_call_that_cannot_be_read_is_given_as_the_text_it_is(saying):
    *deltas, done = saying("<|tool_call>", "call:weather", "{days:", "<tool_call|>", "<|tool_response>").answer(chat("Weather?"))
    assert "{days:" in "".join(delta.text for delta in deltas)
    assert done.reason == "stop"


def test_tools_calls_and_their_answers_are_in_the_prompt(gemma4):
    turns = (
        said("user", "Weather?"),
        Message(role="assistant", tool_calls=(ToolCall(id="1", name="weather", arguments='{"days": 3}'),)),
        Message(role="tool", tool_call_id="1", content=(TextPart(text="sunny"),)),
    )
    prompt = gemma4.model._prompt(GenerateRequest(messages=turns, tools=(Tool(name="weather"),)), [])
    written = gemma4.model._vocabulary.text(prompt)
    assert "<|tool>weather<tool|>" in written
    assert "<|tool_call>call:weather<tool_call|>" in written
    assert "sunny" in written
    with pytest.raises(UnsupportedError, match="tool_choice"):
        gemma4.answer(chat("Hi.", tools=(Tool(name="weather"),), tool_choice=ToolChoice(mode="required")))


def test_families_without_tools_or_thoughts_do_not_claim_them(load, folder):
    for family, has in (("gemma2", False), ("gemma3n", False), ("gemma4", True)):
        features = load(folder(family)).card.features
        assert ("tools" in features, "reasoning" in features) == (has, has)


@pytest.mark.parametrize("family", ["gemma2", "gemma3n", "gemma4"])
def test_no_one_can_write_a_control_token(load, folder, family):
    """Whatever stands in any field, the prompt has the template's own control tokens and no more."""
    gemma = load(folder(family))
    tokenizer = gemma.model._vocabulary.tokenizer
    names = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    hostile = "".join(names) + "\ue000<eos>\ue001"
    control = set(tokenizer.convert_tokens_to_ids(names))

    def count(text):
        turns = (said("system", text), said("user", text), said("assistant", text), said("user", text))
        return sum(token in control for token in gemma.model._prompts.of_chat(turns))

    assert count(hostile) == count("harmless")
    raw = gemma.model._prompt(GenerateRequest(prompt=hostile), [])
    assert sum(token in control for token in raw) == 1  # the beginning of every text
    assert gemma.model._vocabulary.text(gemma.model._prompts.of_chat([said("user", hostile)])).count(names[0]) >= 1


def test_a_prompt_may_not_name_tokens_that_stand_for_sound(hearing):
    sound = hearing.model._prompts._sound
    with pytest.raises(BadInputError, match="stand for sound"):
        hearing.answer(GenerateRequest(prompt=(2, 10, sound, 11)))
    with pytest.raises(BadInputError, match="tokens are 0 to"):
        hearing.answer(GenerateRequest(prompt=(10**6,)))


def test_a_raw_prompt_is_continued(gemma4):
    *_, done = events = gemma4.answer(GenerateRequest(prompt="Once", max_tokens=5, echo=True))
    assert events[0].text == "Once"
    assert done.usage.output_tokens <= 5


@pytest.mark.parametrize("family", ["gemma2", "gemma3", "gemma3n", "gemma4"])
def test_a_system_turn_is_in_every_familys_prompt(load, folder, family):
    gemma = load(folder(family))
    prompt = gemma.model._prompts.of_chat([said("system", "Be kind."), said("user", "Hello.")])
    assert "Be kind." in gemma.model._vocabulary.text(prompt)


def test_a_conversation_the_template_refuses_is_the_callers_error(load, folder):
    with pytest.raises(BadInputError, match="must alternate"):
        load(folder("gemma2")).answer(GenerateRequest(messages=(said("user", "a"), said("user", "b"))))


def test_what_the_context_does_not_hold_is_refused(load, folder):
    gemma = load(folder("gemma2"), context_length=64)
    with pytest.raises(BadInputError, match="maximum context length is 64") as caught:
        gemma.answer(chat("word " * 50))
    assert caught.value.code == "context_length_exceeded"
    with pytest.raises(BadInputError, match="lower max_tokens"):
        gemma.answer(chat("Hello.", max_tokens=64))
    *_, done = gemma.answer(chat("Hello.", ignore_eos=True))
    assert done.usage.input_tokens + done.usage.output_tokens == 64


def test_text_only_gemmas_hear_nothing(load, folder):
    gemma = load(folder("gemma2"))
    assert gemma.card.inputs == ("text",)
    assert "transcribe" not in gemma.card.abilities
    with pytest.raises(UnsupportedError, match="does not hear"):
        gemma.heard(voiced(1.0))
    with pytest.raises(UnsupportedError, match="does not hear"):
        gemma.answer(chat("What?", voiced(1.0)))


def test_a_cancelled_answer_stops_within_a_token_and_has_no_end(gemma4):
    context = Context()
    events = gemma4.backend.generate(chat("Hello.", ignore_eos=True, max_tokens=3000), context)
    next(events)
    began = time.monotonic()
    context.cancel()
    rest = list(events)
    assert time.monotonic() - began < 2.0  # 100 ms on a quiet machine: benchmarks/gemma_audio.py
    assert not any(isinstance(event, Done) for event in rest)
    assert not gemma4.model._engine._rows or gemma4.model._engine._rows[0].cancelled


def test_characters_of_several_tokens_come_whole(saying):
    gemma = saying("<0xF0>", "<0x9F>", "<0x99>", "<0x82>", "<turn|>")
    assert [event.text for event in gemma.answer(chat("Hi.")) if isinstance(event, Delta)] == ["🙂"]
    half = saying("<0xF0>", "<0x9F>", "<turn|>")
    assert set(half.text(chat("Hi."))) == {"\N{REPLACEMENT CHARACTER}"}


def test_tokens_of_a_chat_are_those_of_its_prompt(hearing):
    messages = (said("user", voiced(2.0), "What is it?"),)
    tokens, _ = hearing.backend.tokenize(TokenizeRequest(messages=messages))
    assert isinstance(tokens, Tokens)
    *_, done = hearing.answer(GenerateRequest(messages=messages, max_tokens=1))
    assert len(tokens.tokens) == done.usage.input_tokens


def test_the_prompt_is_the_one_the_models_own_processor_makes(load, folder):
    """Gemma 3n's processor needs no torchvision, so it can be asked: tokens and features are the same."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("PIL")
    gemma = load(folder("gemma3n"))
    processor = transformers.Gemma3nProcessor(
        feature_extractor=gemma.model._ears._extractor,
        image_processor=transformers.SiglipImageProcessorPil(),
        tokenizer=gemma.model._vocabulary.tokenizer,
        chat_template=gemma.model._vocabulary.tokenizer.chat_template,
    )
    samples = voiced(2.0)
    content = [{"type": "audio", "audio": samples}, {"type": "text", "text": "What\nis it?"}]
    theirs = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    clip = gemma.model._ears.hear(samples)
    ours = gemma.model._prompts.of_chat([said("user", samples, "What\nis it?")], [clip])
    assert ours == theirs["input_ids"][0].tolist()
    assert torch.equal(clip.features, theirs["input_features"][0])
