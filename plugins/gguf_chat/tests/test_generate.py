import subprocess
import sys
import threading

import llama_cpp
import numpy as np
import pytest
from hypothesis import given, strategies as st
from modelhost import BadInputError, Context, Done, GenerateRequest, Message, NotReadyError, Source, TextPart, UnsupportedError
from modelhost.contract.backend import read_options
from modelhost.contract.log import Log
from modelhost.pool.requirements import needs
from modelhost_gguf_chat import GgufChatBackend, GgufChatOptions
from modelhost_gguf_chat.engine.sampling import decide
from modelhost_gguf_chat.origins import Piece
from modelhost_gguf_chat.tokens import Vocabulary

QUESTION = "What is the largest planet of the solar system?"
TALK = (Message(role="user", content=(TextPart(text="x"),)),)
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"


def chatml(*texts):
    turns = [("system", SYSTEM), *((("user", "assistant")[n % 2], text) for n, text in enumerate(texts))]
    return "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns) + "<|im_start|>assistant\n"


def prompt_of(chat, *texts):
    return chat.model.prompt(GenerateRequest(messages=chat.talk(*texts), add_generation_prompt=True))


def only(token):
    """A bias that leaves one token."""
    return {token: 100.0}


# what a plugin promises


def test_importing_the_plugin_brings_no_runtime():
    code = "import sys, modelhost_gguf_chat; sys.exit(any(m in sys.modules for m in ('llama_cpp', 'numpy', 'jinja2')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_card_says_what_is_honoured(chat, weights):
    assert chat.card.abilities == ("generate", "tokenize")
    assert chat.card.context_length == 1024
    assert chat.card.size_bytes == weights.stat().st_size
    assert chat.card.device == "cpu"
    assert chat.card.concurrency == 4
    assert not {"tools", "json_schema", "reasoning", "suffix"} & set(chat.card.features)


def test_unknown_and_impossible_options_are_refused():
    import msgspec

    for wrong in ({"n_gpu_layer": 1}, {"n_ctx": -1}, {"cache_type_k": "f8"}, {"temperature": 3}):
        with pytest.raises(msgspec.ValidationError):
            read_options(GgufChatOptions, {"source": "x.gguf", **wrong})


# what it answers


def test_a_question_is_answered_and_counted(chat):
    text, done = chat.ask(QUESTION, temperature=0.0, max_tokens=20)
    assert "Jupiter" in text
    assert done.usage.input_tokens == len(prompt_of(chat, QUESTION))
    assert 1 < done.usage.output_tokens <= 20


def test_the_likeliest_answer_is_that_of_the_bindings_own_class(chat, weights):
    reference = llama_cpp.Llama(str(weights), n_ctx=1024, n_batch=32, n_threads=1, flash_attn=True, verbose=False)
    for question in (QUESTION, "Name three colours."):
        expected = reference.create_chat_completion(
            [{"role": "user", "content": question}], temperature=0.0, repeat_penalty=1.0, max_tokens=16
        )
        assert chat.ask(question, temperature=0.0, max_tokens=16, seed=1)[0] == expected["choices"][0]["message"]["content"]
    reference.close()


def test_an_answer_that_reaches_max_tokens_ends_for_its_length(chat):
    text, done = chat.ask(QUESTION, max_tokens=3, logit_bias=only(chat.vocabulary.tokenize(" the")[0]))
    assert (text, done.reason, done.usage.output_tokens) == (" the the the", "length", 3)


def test_the_token_that_ends_an_answer_is_counted_and_not_shown(chat):
    text, done = chat.ask(QUESTION, logit_bias=only(chat.vocabulary.eos))
    assert (text, done.reason, done.usage.output_tokens) == ("", "stop", 1)


def test_ignore_eos_goes_on_where_the_model_would_end(chat):
    _, done = chat.ask(QUESTION, logit_bias=only(chat.vocabulary.eos), ignore_eos=True, max_tokens=5)
    assert (done.reason, done.usage.output_tokens) == ("length", 5)


def test_a_stop_string_across_tokens_is_cut_away(chat):
    text, done = chat.ask(QUESTION, stop=("e the t",), logit_bias=only(chat.vocabulary.tokenize(" the")[0]))
    assert (text, done.reason) == (" th", "stop")
    assert done.usage.output_tokens == 3


def test_an_answer_without_max_tokens_ends_when_the_context_is_full(load):
    small = load(n_ctx=64)
    _, done = small.ask(QUESTION, logit_bias=only(small.vocabulary.tokenize(" the")[0]))
    assert done.reason == "length"
    assert done.usage.input_tokens + done.usage.output_tokens == 64


def test_the_same_seed_gives_the_same_text_whatever_came_between(chat):
    ask = {"seed": 7, "temperature": 1.5, "max_tokens": 24}
    first, _ = chat.ask(QUESTION * 8, **ask)
    chat.ask("Something else entirely.", max_tokens=4)
    second, _ = chat.ask(QUESTION * 8, **ask)
    third, done = chat.ask(QUESTION * 8, **ask)
    assert first == second == third
    assert done.usage.cached_tokens == done.usage.input_tokens - 1
    assert chat.ask(QUESTION * 8, **ask | {"seed": 8})[0] != first


def test_without_a_seed_answers_differ(chat):
    assert len({chat.ask(QUESTION, temperature=2.0, top_k=0, max_tokens=12)[0] for _ in range(3)}) > 1


def test_penalties_count_the_answer_and_repeat_penalty_the_prompt_too(chat):
    the, a = (chat.vocabulary.tokenize(word)[0] for word in (" the", " a"))
    ask = {"prompt": (the, the), "max_tokens": 3, "temperature": 0.0, "logit_bias": {the: 100.0, a: 98.0}}
    assert texts(chat, GenerateRequest(**ask)) == " the the the"
    assert texts(chat, GenerateRequest(**ask, presence_penalty=2.0, frequency_penalty=2.0)) == " the a the"
    assert texts(chat, GenerateRequest(**ask, repeat_penalty=3.0)).startswith(" a")


def texts(chat, request):
    return "".join(event.text for event in chat.backend.generate(request, Context()) if not isinstance(event, Done))


def test_logprobs_are_those_of_the_model_and_not_of_the_sampler(chat):
    import math

    events = chat.events(QUESTION, temperature=0.0, max_tokens=4, logprobs=True, top_logprobs=5)
    entries = [entry for event in events[:-1] for entry in event.logprobs]
    assert len(entries) == 4
    for entry in entries:
        assert entry.top[0].token == entry.token
        assert [other.logprob for other in entry.top] == sorted((other.logprob for other in entry.top), reverse=True)
        assert entry.data.decode() == entry.token
        assert sum(math.exp(other.logprob) for other in entry.top) <= 1 + 1e-6
    forced = chat.events(QUESTION, max_tokens=1, logprobs=True, logit_bias=only(chat.vocabulary.tokenize(" zebra")[0]))
    assert forced[0].logprobs[0].logprob < -5
    assert forced[0].logprobs[0].top == ()


def test_a_raw_prompt_is_continued_as_text_and_as_tokens(chat):
    words = "The capital of France is"
    tokens = tuple(chat.vocabulary.tokenize(words))
    as_text = texts(chat, GenerateRequest(prompt=words, temperature=0.0, max_tokens=5, seed=1))
    as_tokens = texts(chat, GenerateRequest(prompt=tokens, temperature=0.0, max_tokens=5, seed=1))
    assert "Paris" in as_text
    assert as_text == as_tokens
    for prompt in (words, tokens):
        echoed = texts(chat, GenerateRequest(prompt=prompt, temperature=0.0, max_tokens=5, seed=1, echo=True))
        assert echoed == words + as_text


def test_a_stop_string_is_looked_for_in_the_answer_and_not_in_the_prompt_that_is_given_back(chat):
    request = GenerateRequest(
        prompt="The capital of France is", stop=("France", "Paris"), echo=True, temperature=0.0, max_tokens=5
    )
    *deltas, done = chat.backend.generate(request, Context())
    assert "".join(delta.text for delta in deltas) == "The capital of France is "
    assert done.reason == "stop"


def test_a_raw_prompts_tokens_have_probabilities(chat):
    request = GenerateRequest(prompt="The capital of France is", temperature=0.0, max_tokens=3, logprobs=True, top_logprobs=2)
    *deltas, _ = chat.backend.generate(request, Context())
    entries = [entry for delta in deltas for entry in delta.logprobs]
    assert [entry.token for entry in entries[:1]] == [" Paris"]
    assert "".join(entry.token for entry in entries) == "".join(delta.text for delta in deltas)


def test_an_echoed_prompts_tokens_have_the_models_own_probabilities(chat, weights):
    prompt = "The capital of France is Paris. The capital of Spain is Madrid, and that of Italy is Rome. " * 4  # more than a step
    request = GenerateRequest(prompt=prompt, echo=True, logprobs=True, prompt_logprobs=True, max_tokens=2, temperature=0.0)
    *deltas, done = chat.backend.generate(request, Context())
    reference = llama_cpp.Llama(str(weights), n_ctx=512, n_batch=32, n_threads=1, flash_attn=True, logits_all=True, verbose=False)
    tokens = chat.vocabulary.tokenize(prompt)
    reference.eval(tokens)
    logits = np.array(reference.scores[: len(tokens)], np.float64)
    reference.close()
    logprobs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = [logprobs[at, token] for at, token in enumerate(tokens[1:])]
    entries = [entry for delta in deltas for entry in delta.logprobs]
    assert "".join(delta.text for delta in deltas).startswith(prompt)
    assert [entry.token for entry in entries[: len(tokens)]] == [chat.vocabulary.piece(token).decode() for token in tokens]
    assert entries[0].logprob is None
    assert [entry.logprob for entry in entries[1 : len(tokens)]] == pytest.approx(expected, abs=1e-3)
    assert (len(entries), done.usage.output_tokens) == (len(tokens) + 2, 2)


def test_a_prompt_is_scored_without_an_answer(chat):
    request = GenerateRequest(
        prompt="One two three", echo=True, logprobs=True, top_logprobs=2, prompt_logprobs=True, max_tokens=0
    )
    for _ in range(2):  # what the first has left in the cache has no logits
        *deltas, done = chat.backend.generate(request, Context())
        assert "".join(delta.text for delta in deltas) == "One two three"
        assert [len(entry.top) for delta in deltas for entry in delta.logprobs] == [0, 2, 2]
        assert (done.reason, done.usage.output_tokens, done.usage.cached_tokens) == ("length", 0, 0)


# what fills a gap


def test_a_gap_is_asked_for_as_prefix_suffix_middle(chat, monkeypatch):
    vocabulary = chat.vocabulary
    monkeypatch.setattr(vocabulary, "gap", (3, 4, 5))
    before, after = vocabulary.tokenize("def one():"), vocabulary.tokenize("\n<|im_end|>")
    request = GenerateRequest(prompt="def one():", suffix="\n<|im_end|>")
    assert chat.model.prompt(request) == [3, *before, 4, *after, 5]
    assert not {3, 4, 5} & {*before, *after}
    assert chat.model.prompt(GenerateRequest(prompt=tuple(before), suffix="\n<|im_end|>")) == [3, *before, 4, *after, 5]
    assert chat.model.prompt(GenerateRequest(prompt="", suffix="x")) == [3, 4, *vocabulary.tokenize("x"), 5]
    monkeypatch.setattr(vocabulary, "_adds_bos", True)
    assert chat.model.prompt(request) == [vocabulary.bos, 3, *before, 4, *after, 5]


def test_a_gap_is_filled_and_the_whole_prompt_counted(chat, monkeypatch):
    monkeypatch.setattr(chat.vocabulary, "gap", (3, 4, 5))
    assert "suffix" in chat.model.card().features
    request = GenerateRequest(prompt="One, two,", suffix=" four.", max_tokens=4, echo=True, ignore_eos=True)
    first, *_, done = chat.backend.generate(request, Context())
    assert first.text == "One, two,"
    assert (done.usage.input_tokens, done.usage.output_tokens) == (len(chat.model.prompt(request)), 4)


def test_a_vocabulary_that_lacks_one_of_the_three_tokens_fills_no_gap(chat, monkeypatch):
    assert chat.vocabulary.gap is None
    for name, token in (("pre", 3), ("suf", 4), ("mid", 5)):
        assert Vocabulary(chat.engine.model).gap is None
        monkeypatch.setattr(llama_cpp, f"llama_vocab_fim_{name}", lambda pointer, token=token: token)
    assert Vocabulary(chat.engine.model).gap == (3, 4, 5)


def test_the_host_refuses_a_suffix_by_the_card_of_a_model_that_fills_no_gap(chat):
    unmet = [need.param for need in needs(GenerateRequest(prompt="x", suffix="y")) if not need.met_by(chat.card)]
    assert unmet == ["suffix"]


def test_control_tokens_spelled_in_a_raw_prompt_are_text(chat):
    request = GenerateRequest(prompt="<|im_end|>")
    assert not chat.vocabulary.control_tokens & set(chat.model.prompt(request))


# what goes into a prompt


def test_a_conversation_becomes_the_tokens_of_its_plain_rendering(chat):
    talk = (QUESTION, "Paris, the “city of light”.", "  And of Spain?\n\nIn one word 🙂.")
    assert prompt_of(chat, *talk) == chat.vocabulary.tokenize(chatml(*talk), parse_special=True)


@given(st.lists(st.text(max_size=30), min_size=1, max_size=3))
def test_any_conversation_becomes_the_tokens_of_its_plain_rendering(chat, talk):
    assert prompt_of(chat, *talk) == chat.vocabulary.tokenize(chatml(*talk), parse_special=True)


@given(
    st.lists(
        st.sampled_from(["<|im_end|>", "<|im_start|>", "\n", "system\n", "<|endoftext|>", "obey", "\ue000", "|>"]),
        min_size=1,
    )
)
def test_nobody_writes_control_tokens_into_a_prompt(chat, words):
    text = "".join(words)
    control = chat.vocabulary.control_tokens
    tokens = prompt_of(chat, text)
    assert [t for t in tokens if t in control] == [t for t in prompt_of(chat, "x") if t in control]
    shown = b"".join(chat.vocabulary.piece(token, special=True) for token in tokens).decode()
    assert shown == chatml(text)


def test_control_tokens_in_trusted_words_are_those_llama_cpp_finds(chat):
    rendered = chatml("x") + "<|endoftext|> <file_sep>"
    assert chat.vocabulary.tokenize_pieces([Piece(rendered, trusted=True)]) == chat.vocabulary.tokenize(
        rendered, parse_special=True
    )


# what it refuses


def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers(chat):
    with pytest.raises(BadInputError, match=r"maximum context length is 1024 tokens, .* have \d{4} tokens") as refused:
        chat.events("word " * 1100)
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "messages")
    with pytest.raises(BadInputError, match="1024") as refused:
        list(chat.backend.generate(GenerateRequest(prompt=(5,) * 1024), Context()))
    assert refused.value.param == "prompt"


def test_an_answer_that_would_not_fit_is_refused_before_it_begins(chat):
    count = len(prompt_of(chat, QUESTION))
    with pytest.raises(BadInputError, match=rf"1024 tokens, but you asked for {count + 1020}") as refused:
        chat.events(QUESTION, max_tokens=1020)
    assert refused.value.code == "context_length_exceeded"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": (5, 49152)}, "prompt"),
        ({"prompt": (-1,)}, "prompt"),
        ({"prompt": "x", "logit_bias": {49152: 1.0}}, "logit_bias"),
        ({"prompt": "x", "logit_bias": {5: float("nan")}}, "logit_bias"),
        ({}, "messages"),
        ({"prompt": "x", "suffix": "y"}, "suffix"),
        ({"messages": TALK, "suffix": "y"}, "suffix"),
        ({"messages": TALK, "echo": True}, "echo"),
    ],
)
def test_what_cannot_be_is_refused_with_its_field(chat, fields, param):
    with pytest.raises((BadInputError, UnsupportedError)) as refused:
        list(chat.backend.generate(GenerateRequest(**fields), Context()))
    assert refused.value.param == param


def test_a_model_without_a_template_continues_prompts_and_refuses_chat(chat, monkeypatch):
    monkeypatch.setattr(chat.model, "_template", "this model has no chat template")
    with pytest.raises(UnsupportedError, match="chat_template"):
        chat.events(QUESTION)
    assert texts(chat, GenerateRequest(prompt="Once", max_tokens=2))


def test_the_operators_template_replaces_the_files(load):
    own = load(n_ctx=64, chat_template="{% for m in messages %}Q: {{ m.content }}\nA:{% endfor %}")
    assert own.vocabulary.text(prompt_of(own, "Why?")) == "Q: Why?\nA:"


def test_a_template_may_be_a_file_and_only_one_is_chosen(load, tmp_path):
    file = tmp_path / "chat.jinja"
    file.write_text("{% for m in messages %}Q: {{ m.content }}${x}\nA:{% endfor %}", encoding="utf-8-sig")
    source = Source("chat.jinja", path=file)
    own = load(n_ctx=64, chat_template_file=source)
    assert own.vocabulary.text(prompt_of(own, "Why?")) == "Q: Why?${x}\nA:"
    with pytest.raises(BadInputError, match="leave one out"):
        load(n_ctx=64, chat_template_file=source, chat_template="x")
    file.write_bytes(b"\xff")
    with pytest.raises(BadInputError, match=r"chat\.jinja cannot be read") as refused:
        load(n_ctx=64, chat_template_file=source)
    assert refused.value.param == "chat_template_file"


def test_a_broken_template_in_the_file_is_told_with_its_place_and_prompts_still_work(load, monkeypatch):
    monkeypatch.setattr(llama_cpp, "llama_model_chat_template", lambda *_: b"line one\n{% if %}")
    broken = load(n_ctx=64)
    with pytest.raises(UnsupportedError, match=r"own chat template cannot be used: .* line 2 .*chat_template_file") as refused:
        broken.events(QUESTION)
    assert "has no chat template" not in refused.value.message
    assert "prefill" not in broken.card.features
    assert texts(broken, GenerateRequest(prompt="Once", max_tokens=2))


def test_control_tokens_that_are_lost_on_the_way_through_a_template_are_told_at_load(load, weights):
    records = []
    lost = "{% for m in messages %}{{ '<|im_start|>' | reverse | reverse }}{{ m.content }}<|im_end|>{% endfor %}"
    for source in (lost, lost.replace(" | reverse | reverse", "")):
        backend = GgufChatBackend(GgufChatOptions(source=Source("x", path=weights), n_ctx=64, chat_template=source), threads=1)
        backend.log = Log(lambda level, event, facts: records.append((level, facts.get("tokens"))))
        backend.load()
        backend.unload()
    assert [tokens for level, tokens in records if level == "warning"] == [["<|im_start|>"]]


@pytest.mark.parametrize("fields", [{"seed": -1}, {}])
def test_minus_one_asks_for_a_random_seed_wherever_it_stands(chat, fields):
    options = GgufChatOptions(source=Source("x"), **fields)
    seeds = {decide(GenerateRequest(**wish), options, chat.vocabulary).seed for wish in ({}, {"seed": -1}) for _ in range(3)}
    assert len(seeds) > 1
    assert decide(GenerateRequest(seed=7), options, chat.vocabulary).seed == 7


def test_minus_one_switches_limits_off_in_the_file_as_elsewhere(load):
    wide = load(n_ctx=64, top_k=-1, max_tokens=-1, repeat_last_n=-1, repeat_penalty=1.1)
    _, done = wide.ask("Hi", ignore_eos=True)
    assert (done.reason, done.usage.input_tokens + done.usage.output_tokens) == ("length", 64)


def test_a_missing_or_broken_file_says_so_at_load(tmp_path, weights):
    broken = tmp_path / "broken.gguf"
    for data in (None, b"not a model at all, really", weights.read_bytes()[:3_000_000]):
        if data is not None:
            broken.write_bytes(data)
        with pytest.raises((BadInputError, NotReadyError), match=r"broken\.gguf"):
            GgufChatBackend(GgufChatOptions(source=Source("x", path=broken))).load()


def test_options_that_exclude_each_other_are_refused(weights):
    options = GgufChatOptions(source=Source("x", path=weights), main_gpu=0, tensor_split=(1.0, 1.0))
    with pytest.raises(BadInputError, match="main_gpu"):
        GgufChatBackend(options).load()


# what it keeps


def test_a_longer_conversation_computes_only_what_is_new(chat):
    _, first = chat.ask(QUESTION, caller="a", max_tokens=1)
    _, second = chat.ask(QUESTION, "Paris.", "And of Spain?", caller="a", max_tokens=1)
    assert first.usage.cached_tokens == 0
    assert first.usage.input_tokens <= second.usage.cached_tokens < second.usage.input_tokens
    _, again = chat.ask(QUESTION, "Paris.", "And of Spain?", caller="a", max_tokens=1)
    assert again.usage.cached_tokens == again.usage.input_tokens - 1


def test_one_caller_does_not_profit_from_anothers_cache(chat):
    chat.ask(QUESTION, caller="a", max_tokens=1)
    assert chat.ask(QUESTION, caller="b", max_tokens=1)[1].usage.cached_tokens == 0


def test_quantised_caches_and_flash_attention_answer_too(load):
    small = load(n_ctx=128, cache_type_k="q8_0", cache_type_v="q8_0", flash_attn="on", use_mmap=False)
    assert "Jupiter" in small.ask(QUESTION, temperature=0.0, max_tokens=20)[0]


# how it stops


def test_cancelling_stops_an_answer_without_done_and_the_next_one_is_whole(chat):
    context = Context()
    events = []
    for event in chat.backend.generate(GenerateRequest(prompt="Once upon a time", ignore_eos=True), context):
        events.append(event)
        context.cancel()
    assert len(events) == 1
    assert "Jupiter" in chat.ask(QUESTION, temperature=0.0, max_tokens=20)[0]


def test_a_call_that_was_cancelled_before_it_began_computes_nothing(chat):
    context = Context()
    context.cancel()
    assert chat.events(QUESTION, context=context) == []


def test_closing_the_generator_frees_the_engine(chat):
    generator = chat.backend.generate(GenerateRequest(prompt="Once upon a time", ignore_eos=True), Context())
    next(generator)
    generator.close()
    assert chat.ask(QUESTION, max_tokens=1)[1].usage.output_tokens == 1


def test_calls_from_two_threads_take_turns(chat):
    answers = {}

    def ask(n):
        answers[n] = chat.ask(QUESTION, temperature=0.0, max_tokens=8, seed=1)[0]

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 3
    assert len(set(answers.values())) == 1


def test_unloading_ends_what_runs_and_refuses_what_comes(load):
    gone = load(n_ctx=256)
    generator = gone.backend.generate(GenerateRequest(prompt="Once upon a time", ignore_eos=True), Context())
    next(generator)
    gone.backend.unload()
    with pytest.raises(NotReadyError):
        list(generator)
    assert gone.engine._serving.done()
    with pytest.raises(NotReadyError):
        gone.events(QUESTION)
    gone.backend.unload()
