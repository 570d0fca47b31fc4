"""Chat, with and without sound."""

import functools
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from conftest import chat, turn
from modelhost import (
    BadInputError,
    Context,
    Delta,
    Done,
    GenerateRequest,
    NotReadyError,
    TokenizeRequest,
    Tokens,
    Tool,
    ToolCall,
    ToolChoice,
    UnsupportedError,
)
from modelhost.contract.types import AudioPart, Blob, Message, TextPart
from modelhost_gemma_audio.transcript_request import find_transcript_request
from msgspec import structs
from sounds import SENTENCE, voiced, wav

WORDS = "The quick brown fox jumps."


def test_an_answer_comes_token_by_token(saying):
    *deltas, done = saying(*SENTENCE).answer(chat("Hello."))
    assert [delta.text for delta in deltas] == [" The", " quick", " brown", " fox", " jumps."]
    assert done.reason == "stop"
    assert done.usage.output_tokens == 5


def test_sound_is_heard(hearing):
    """Another recording gives another answer, and its tokens are counted."""
    requests = [chat(voiced(3.0, pitch=pitch), "What is it?", max_tokens=2) for pitch in (120, 400)]
    assert hearing.tokens(requests[0]) != hearing.tokens(requests[1])
    usage = hearing.answer(requests[0])[-1].usage
    assert usage.audio_seconds == 3.0
    assert usage.audio_tokens == (188 if "Gemma3n" in type(hearing.torch).__name__ else 75)
    assert usage.input_tokens > usage.audio_tokens


def test_several_recordings_in_a_chat_are_heard_in_order(hearing):
    low, high = voiced(2.0, pitch=120), voiced(2.0, pitch=400)
    assert hearing.tokens(chat(low, high, "Compare.")) != hearing.tokens(chat(high, low, "Compare."))


def test_sound_longer_than_the_window_is_refused_not_cut(hearing):
    with pytest.raises(BadInputError, match="longer than the 30 s") as caught:
        hearing.answer(chat(voiced(35.0), "What is it?"))
    assert caught.value.code == "audio_too_long"


@pytest.mark.parametrize("text", ["Transcribe this audio", "Context: A talk.\n\nTranscribe this audio", "Please, transcribe."])
def test_a_transcript_that_is_asked_for_has_no_limit_of_length(saying, text):
    *deltas, done = saying(*SENTENCE).answer(chat(text, voiced(70.0), language="en"))
    assert "".join(delta.text for delta in deltas) == " ".join([WORDS] * len(deltas))
    assert len(deltas) >= 3
    assert done.usage.audio_seconds == 70.0


TALK = "Technical discussion\nabout machine learning"


@pytest.mark.parametrize(
    ("text", "context", "language"),
    [
        ("Transcribe this audio", None, None),
        ("Please, transcribe my voice memo in German.", None, "de"),
        (f"Context: {TALK}\n\nTranscribe this audio", TALK, None),
        ("Context: Board meeting. Transcribe this audio", "Board meeting.", None),
        ("Context: One.\n\nTwo: three.\n\nTranscribe this audio.", "One.\n\nTwo: three.", None),
    ],
)
def test_a_wish_for_a_transcript_is_found_with_its_context(text, context, language):
    request = find_transcript_request([turn("user", text, voiced(1.0))])
    assert (request.context, request.language) == (context, language)
    with_system = find_transcript_request([turn("system", "Names: Ada."), turn("user", text, voiced(1.0))])
    assert with_system.context == "\n".join(line for line in ("Names: Ada.", context) if line)


@pytest.mark.parametrize(
    "text",
    [
        "Transcribe this and then summarise it in three bullet points.",
        "Transcribe the audio and answer the question in it.",
        "Transcribe this audio into Spanish.",
        "Transcribe this audio in pink.",
        "Can you transcribe only what the woman says?",
        "What does transcribe mean?",
        "Summarise this. Transcribe this audio.",
        "Context: a meeting.",
        "",
    ],
)
def test_who_wishes_for_more_is_answered_by_the_model_itself(text):
    assert find_transcript_request([turn("user", text, voiced(1.0))]) is None


@pytest.mark.parametrize("filling", [" ", "\n", ". ", "context: ", "please ", "transcribe "])
def test_a_long_text_is_looked_through_in_no_time(filling):
    began = time.process_time()
    for text in (f"Context: a{filling * 50_000}x", f"{filling * 50_000}x", f"Context:{filling * 50_000}Transcribe this audio"):
        find_transcript_request([turn("user", text, voiced(0.1))])
    assert time.process_time() - began < 1.0  # some milliseconds; by the square of the length it would be minutes


def test_a_transcript_needs_one_recording_in_a_chat_that_begins_with_it():
    wish = "Transcribe this audio"
    assert find_transcript_request([]) is None
    assert find_transcript_request([turn("user", wish)]) is None
    assert find_transcript_request([turn("user", wish, voiced(1.0), voiced(1.0))]) is None
    assert find_transcript_request([turn("user", "Hi."), turn("assistant", "Hi."), turn("user", wish, voiced(1.0))]) is None


def test_stop_strings_and_max_tokens_end_a_transcript(saying):
    gemma = saying(*SENTENCE)
    *deltas, done = gemma.answer(chat("Transcribe.", voiced(70.0), language="en", stop=("fox",)))
    assert "".join(delta.text for delta in deltas) == "The quick brown "
    *deltas, done = gemma.answer(chat("Transcribe.", voiced(70.0), language="en", max_tokens=3))
    assert ("".join(delta.text for delta in deltas), done.reason) == (WORDS, "length")


def test_a_prompt_beyond_the_context_is_refused_before_anything_is_computed(load, folder):
    gemma = load(folder("gemma4"), context_length=1200)
    with pytest.raises(BadInputError, match="shorten the prompt") as caught:
        gemma.events(voiced(3.0), prompt="word " * 500)
    assert caught.value.code == "context_length_exceeded"
    with pytest.raises(BadInputError, match="shorten the prompt"):
        gemma.answer(chat(f"Context: {'word ' * 500}\n\nTranscribe this audio", voiced(3.0)))


def test_output_tokens_are_those_that_were_read(saying):
    for _ in range(3):
        *_, done = saying(*SENTENCE).answer(chat("Hello.", stop=("quick",), ignore_eos=True, max_tokens=500))
        assert done.usage.output_tokens == 2


def test_only_the_tools_that_may_be_called_are_offered(gemma4):
    tools = (Tool(name="weather"), Tool(name="clock"))

    def written(choice):
        return gemma4.model.parts.vocabulary.text(gemma4.model.chat.prompt(chat("Hi.", tools=tools, tool_choice=choice), []))

    assert "clock" in written(None)
    assert "clock" not in written(ToolChoice(names=("weather",)))
    assert "weather" not in written(ToolChoice(mode="none"))


def test_words_that_were_added_as_tokens_are_words(saying):
    """The template has all of these in it."""
    assert saying("user", " to", " tools", "<turn|>").text(chat("Hi.")) == "user to tools"


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
        return hearing.text(chat("Hello.", seed=seed, temperature=1.0, max_tokens=20, ignore_eos=True))

    assert answer(1) == answer(1)
    assert answer(1) != answer(2)


def test_bias_changes_what_is_chosen(saying):
    gemma = saying(*SENTENCE)
    quick = gemma.model.parts.vocabulary.tokenizer.convert_tokens_to_ids(" quick")
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
    think = gemma4.model.parts.vocabulary.tokenizer.convert_tokens_to_ids("<|think|>")
    prompts = [gemma4.model.chat.prompt(chat("Hi.", reasoning_effort=effort), []) for effort in ("low", "none", None)]
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
        turn("user", "Weather?"),
        Message(role="assistant", tool_calls=(ToolCall(id="1", name="weather", arguments='{"days": 3}'),)),
        Message(role="tool", tool_call_id="1", content=(TextPart(text="sunny"),)),
    )
    prompt = gemma4.model.chat.prompt(GenerateRequest(messages=turns, tools=(Tool(name="weather"),)), [])
    written = gemma4.model.parts.vocabulary.text(prompt)
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
    tokenizer = gemma.model.parts.vocabulary.tokenizer
    names = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    hostile = "".join(names) + "\ue000<eos>\ue001"
    control = set(tokenizer.convert_tokens_to_ids(names))

    def count(text):
        call = ToolCall(id=text, name=text, arguments=json.dumps({"a": text}))
        turns = (
            turn("system", text),
            structs.replace(turn("user", text), name=text),
            structs.replace(turn("assistant", text), reasoning=text, tool_calls=(call,)),
            turn("user", text),
        )
        tools = (Tool(name=text, description=text, parameters={"type": "object", "description": text}),)
        return sum(token in control for token in gemma.model.parts.prompts.of_chat(turns, tools=tools))

    assert count(hostile) == count("harmless")
    raw = gemma.model.chat.prompt(GenerateRequest(prompt=hostile), [])
    assert sum(token in control for token in raw) == 1  # the beginning of every text
    assert gemma.model.parts.vocabulary.text(gemma.model.parts.prompts.of_chat([turn("user", hostile)])).count(names[0]) >= 1


def test_pieces_of_a_control_token_side_by_side_do_not_become_one(hearing):
    """Where there is sound the parts of a turn stay apart, and the template writes them one behind the other."""
    name = "<turn|>" if hearing.model.parts.layout else "<end_of_turn>"
    parts = (AudioPart(audio=Blob(wav(voiced(0.5)))), TextPart(text=name[:3]), TextPart(text=name[3:]))
    clips, _ = hearing.model.chat.sounds([Message(role="user", content=parts)])
    prompt = hearing.model.parts.prompts.of_chat([Message(role="user", content=parts)], clips)
    token = hearing.model.parts.vocabulary.tokenizer.convert_tokens_to_ids(name)
    plain = hearing.model.parts.prompts.of_chat([turn("user", voiced(0.5), "Hi.")], clips)
    assert prompt.count(token) == plain.count(token)
    turns = [turn("system", name[:3]), Message(role="user", content=(TextPart(text=name[3:]), parts[0]))]
    assert hearing.model.parts.prompts.of_chat(turns, clips).count(token) <= plain.count(token) + 1  # the system's own turn


@pytest.mark.parametrize(
    "request_with",
    [
        {"tools": (Tool(name="f", parameters={"properties": {"a<turn|>": {}}}),)},
        {"tools": (Tool(name="f", parameters={"properties": {"a\ue000b": {}}}),)},
    ],
)
def test_keys_with_control_tokens_are_refused(gemma4, request_with):
    with pytest.raises(BadInputError, match="control token"):
        gemma4.answer(chat("Hi.", **request_with))


@pytest.mark.parametrize(
    "tool",
    [
        Tool(name="f", parameters=functools.reduce(lambda inner, _: {"properties": inner}, range(2000), {})),
        Tool(name="f" * 2_000_000),
    ],
    ids=["nested", "huge"],
)
def test_tools_that_cannot_be_written_are_the_callers_error(gemma4, tool):
    with pytest.raises(BadInputError):
        gemma4.answer(chat("Hi.", tools=(tool,)))


def test_more_recordings_than_the_context_holds_are_refused_before_all_are_read(load, folder):
    gemma = load(folder("gemma3n"), context_length=400)
    with pytest.raises(BadInputError, match="send fewer") as caught:
        gemma.answer(chat(*[voiced(0.5)] * 20, "Compare."))
    assert caught.value.code == "context_length_exceeded"


def test_control_tokens_a_model_says_out_of_place_are_left_out(saying):
    gemma = saying("<|turn>", "there", '<|"|>', "<tool_response|>", "<channel|>", "x", "<turn|>")
    assert gemma.text(chat("Hi.")) == "therex"


def test_what_one_request_asks_of_its_sampling_is_nothing_to_the_others(load, folder):
    """A penalty so small that it makes infinities of logits, beside an ordinary request."""
    gemma = load(folder("gemma4"))
    everything = dict.fromkeys(range(300), -100.0) | {400: 100.0}
    hostile = chat("a", temperature=1.0, repeat_penalty=1e-300, logit_bias=everything, max_tokens=10, ignore_eos=True)
    ordinary = chat("Hello.", temperature=0.0, max_tokens=10, ignore_eos=True)
    alone = gemma.text(ordinary)
    with ThreadPoolExecutor(2) as pool:
        beside = pool.submit(gemma.text, ordinary)
        assert pool.submit(gemma.answer, hostile).result()[-1].usage.output_tokens == 10
        assert beside.result() == alone


def test_a_prompt_may_not_name_tokens_that_stand_for_sound(hearing):
    sound = hearing.model.parts.prompts._sound
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
    prompt = gemma.model.parts.prompts.of_chat([turn("system", "Be kind."), turn("user", "Hello.")])
    assert "Be kind." in gemma.model.parts.vocabulary.text(prompt)


@pytest.mark.parametrize("family", ["gemma2", "gemma3", "gemma3n", "gemma4"])
def test_an_answer_goes_on_with_the_assistants_words_unless_a_turn_is_to_begin(load, folder, family):
    gemma = load(folder(family))
    assert "prefill" in gemma.card.features
    turns = (turn("user", "Count."), turn("assistant", "1, 2, 3,"))
    vocabulary = gemma.model.parts.vocabulary

    def prompt(**fields):
        tokens = gemma.model.chat.prompt(GenerateRequest(messages=turns, **fields), [])
        counted, _ = gemma.model.tokenize(TokenizeRequest(messages=turns, **fields))
        assert list(counted.tokens) == tokens
        return vocabulary.text(tokens)

    assert prompt().endswith("1, 2, 3,")
    assert prompt(continue_final_message=True) == prompt()
    begun = prompt(add_generation_prompt=True)
    assert begun.startswith(prompt())
    assert len(begun) > len(prompt(add_generation_prompt=False)) > len(prompt())


@pytest.mark.parametrize("family", ["gemma2", "gemma3", "gemma3n", "gemma4"])
def test_turns_that_a_template_refuses_reach_the_model_all_the_same(load, folder, family):
    gemma = load(folder(family))
    turns = [turn("system", "One"), turn("system", "Two"), turn("user", "Three"), turn("user", "Four"), turn("assistant", "Five")]
    turns += [turn("assistant", "Six"), turn("system", "Seven"), turn("user", "Eight"), turn("system", "Nine")]
    text = gemma.model.parts.vocabulary.text(gemma.model.parts.prompts.of_chat(turns))
    words = ["One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine"]
    assert sorted(words, key=text.index) == words


def test_sound_stays_where_it_was_among_turns_that_become_one(load, folder):
    gemma = load(folder("gemma3n"))
    turns = gemma.model.parts.prompts._turns([turn("system", "A"), turn("user", voiced(0.5), "B"), turn("user", "C")])
    (users,) = (one for one in turns if one["role"] == "user")
    assert [part["type"] for part in users["content"]] == ["audio", "text"] or users["content"][0]["text"].startswith("A")
    assert users["content"][-1]["text"].endswith("B\n\nC")


def test_a_conversation_the_template_refuses_is_the_callers_error(load, folder):
    with pytest.raises(BadInputError, match="must alternate"):
        load(folder("gemma2")).answer(GenerateRequest(messages=(turn("assistant", "a"), turn("user", "b"))))


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
        gemma.events(voiced(1.0))
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


def test_characters_of_several_tokens_come_whole(saying):
    gemma = saying("<0xF0>", "<0x9F>", "<0x99>", "<0x82>", "<turn|>")
    assert [event.text for event in gemma.answer(chat("Hi.")) if isinstance(event, Delta)] == ["🙂"]
    half = saying("<0xF0>", "<0x9F>", "<turn|>")
    assert set(half.text(chat("Hi."))) == {"\N{REPLACEMENT CHARACTER}"}


def test_tokens_of_a_chat_are_those_of_its_prompt(hearing):
    messages = (turn("user", voiced(2.0), "What is it?"),)
    tokens, _ = hearing.backend.tokenize(TokenizeRequest(messages=messages))
    assert isinstance(tokens, Tokens)
    *_, done = hearing.answer(GenerateRequest(messages=messages, max_tokens=1))
    assert len(tokens.tokens) == done.usage.input_tokens


def test_the_prompt_is_the_one_the_models_own_processor_makes(load, folder):
    """Gemma 3n's processor needs no torchvision, so it can be request: tokens and features are the same."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("PIL")
    gemma = load(folder("gemma3n"))
    processor = transformers.Gemma3nProcessor(
        feature_extractor=gemma.model.parts.audio_features._extractor,
        image_processor=transformers.SiglipImageProcessorPil(),
        tokenizer=gemma.model.parts.vocabulary.tokenizer,
        chat_template=gemma.model.parts.vocabulary.tokenizer.chat_template,
    )
    samples = voiced(2.0)
    content = [{"type": "audio", "audio": samples}, {"type": "text", "text": "What\nis it?"}]
    theirs = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    clip = gemma.model.parts.audio_features.clip_of(samples)
    ours = gemma.model.parts.prompts.of_chat([turn("user", samples, "What\nis it?")], [clip])
    assert ours == theirs["input_ids"][0].tolist()
    assert torch.equal(clip.features, theirs["input_features"][0])


ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
"""Ten thousand million turns: an hour."""


@pytest.fixture(scope="module")
def strange(load, tiny, tmp_path_factory):
    """A model whose template goes on for ever where somebody says LOOP, and writes a million letters where somebody says MUCH."""
    folder = tiny.gemma2(tmp_path_factory.mktemp("strange"))
    template = folder / "chat_template.jinja"
    much = "{{ 'a' * 1000000 }}"
    conditions = f"{{% if 'LOOP' in messages[-1]['content'] %}}{ENDLESS}{{% endif %}}"
    conditions += f"{{% if 'MUCH' in messages[-1]['content'] %}}{much}{{% endif %}}"
    template.write_text(conditions + template.read_text())
    return load(folder)


def test_a_template_that_does_not_end_is_stopped_and_the_model_goes_on(strange, monkeypatch):
    monkeypatch.setattr("modelhost_gemma_audio.prompt.MAX_SECONDS", 0.3)
    with pytest.raises(NotReadyError, match="chat template takes too long; its operator can") as caught:
        strange.answer(chat("LOOP"))
    assert not caught.value.retry
    with pytest.raises(BadInputError, match=r"101 messages with .* leave older ones out"):
        strange.answer(GenerateRequest(messages=(*[turn("user", "Hi."), turn("assistant", "Hi.")] * 50, turn("user", "LOOP"))))
    with pytest.raises(NotReadyError, match="makes too much"):
        strange.answer(chat("MUCH"))
    assert isinstance(strange.answer(chat("Hi.", max_tokens=1))[-1], Done)


def test_nobody_waits_for_the_template_of_another(strange, monkeypatch):
    monkeypatch.setattr("modelhost_gemma_audio.prompt.MAX_SECONDS", 3.0)
    with ThreadPoolExecutor() as threads:
        looping = threads.submit(strange.answer, chat("LOOP"))
        for _ in range(3):
            assert isinstance(strange.answer(chat("Hi.", max_tokens=1))[-1], Done)
        assert not looping.done()
        with pytest.raises(NotReadyError):
            looping.result()


def test_a_template_that_never_ends_does_not_keep_a_model_from_loading(load, tiny, tmp_path):
    folder = tiny.gemma2(tmp_path)
    (folder / "chat_template.jinja").write_text(ENDLESS)
    gemma = load(folder)
    assert not gemma.model.parts.prompts._takes_system


def test_sound_alone_cannot_be_continued(gemma4):
    messages = (turn("user", "Hi."), turn("assistant", voiced(1.0)))
    with pytest.raises(BadInputError, match="no text to continue"):
        gemma4.answer(GenerateRequest(messages=messages, continue_final_message=True))
