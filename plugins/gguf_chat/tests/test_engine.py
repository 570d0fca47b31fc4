"""Many answers at once, with the real model: what is the same as alone, who waits for whom, and what a fault costs."""

import random
import threading

import llama_cpp
import pytest
from modelhost import ChoiceDone, Context, DeadlineError, Delta, Done, GenerateRequest, NotReadyError
from modelhost.contract.context import CallInfo
from modelhost_gguf_chat.engine import engine as engine_module

STORY = "The old lighthouse keeper counted the ships that passed in the night and wrote each of them down in his book. "
PROMPTS = [f"{number} {STORY[number * 7 :]}" for number in range(8)]


@pytest.fixture(scope="module")
def split(load):
    return load(n_ctx=512, parallel=8)


@pytest.fixture(scope="module")
def unified(load):
    return load(n_ctx=512, parallel=8, kv="unified")


def write(chat, prompt, tokens=24, caller="", context=None, **more):
    request = GenerateRequest(prompt=prompt, max_tokens=tokens, ignore_eos=True, **{"temperature": 0.0} | more)
    return list(chat.backend.generate(request, context or Context(CallInfo(caller=caller))))


def text(events):
    return "".join(event.text for event in events if isinstance(event, Delta))


def all_at_once(calls):
    """Run calls in a thread each; returns what they return, or raise."""
    results = {}

    def run(number, call):
        try:
            results[number] = call()
        except Exception as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [results[number] for number in range(len(calls))]


def assert_sound(chat):
    """What the tree says of every sequence is what llama.cpp says."""
    sequences, memory = chat.engine._sequences, chat.engine._decoder._memory
    for sequence in range(16 if sequences._unified else 8):
        last = llama_cpp.llama_memory_seq_pos_max(memory, sequence)
        held = sequences._cells.length(sequence) if sequence in sequences._cells else 0
        assert last + 1 == held
    assert sequences._running == 0
    assert not chat.engine._running
    assert not chat.engine._waiting


# the same as alone


@pytest.mark.parametrize("order", [range(8), [5, 2, 7, 0, 1, 6, 4, 3]])
def test_an_answer_beside_others_has_the_bits_it_has_alone(split, order):
    assert split.engine.exact
    alone = [write(split, prompt, caller=f"alone {at}", logprobs=True, top_logprobs=3) for at, prompt in enumerate(PROMPTS)]
    calls = [
        lambda at=at: write(split, PROMPTS[at], caller=f"beside {order} {at}", logprobs=True, top_logprobs=3) for at in order
    ]
    for at, events in zip(order, all_at_once(calls), strict=True):
        assert [delta for delta in events if isinstance(delta, Delta)] == [
            delta for delta in alone[at] if isinstance(delta, Delta)
        ]
    assert_sound(split)


def test_a_seeded_answer_is_the_same_whatever_of_its_prompt_is_there(split):
    ask = {"temperature": 1.2, "seed": 3, "caller": "seeded"}
    whole = PROMPTS[0] + PROMPTS[1] * 2
    first = write(split, whole, **ask)
    assert text(write(split, whole, **ask)) == text(first)
    write(split, whole[:200], **ask)
    again = write(split, whole, **ask)
    assert text(again) == text(first)
    assert again[-1].usage.cached_tokens > 0


def test_drafts_change_nothing_but_the_time(load, split):
    plain = load(n_ctx=512, parallel=2, speculation=False)
    prompt = f"{STORY * 2}\nThe same again:\n{STORY}"
    before = split.engine.measures()
    for ask in ({}, {"temperature": 0.9, "seed": 5}):
        assert text(write(split, prompt, 60, **ask)) == text(write(plain, prompt, 60, **ask))
    after = split.engine.measures()
    assert after["draft_tokens_right"] > before["draft_tokens_right"]
    assert plain.engine.measures()["draft_tokens"] == 0


def test_a_unified_cache_answers_alike(unified):
    alone = [write(unified, prompt, caller="alone", logprobs=True) for prompt in PROMPTS]
    beside = all_at_once([lambda prompt=prompt: write(unified, prompt, caller="beside", logprobs=True) for prompt in PROMPTS])
    for one, other in zip(alone, beside, strict=True):
        assert isinstance(other[-1], Done)
        first, second = (next(delta.logprobs[0] for delta in events if delta.logprobs) for events in (one[:-1], other[:-1]))
        assert abs(first.logprob - second.logprob) <= 0.75  # between flash attention's kernels on a CPU (size.EXACT_TOKENS)
    assert_sound(unified)


# what is not computed twice


@pytest.mark.parametrize("kind", ["split", "unified"])
def test_what_prompts_have_in_common_is_computed_once_also_at_the_same_time(kind, request):
    chat = request.getfixturevalue(kind)
    common = chat.vocabulary.tokenize(STORY * 10)
    before = chat.engine.measures()
    calls = [
        lambda at=at: write(chat, (*common, *chat.vocabulary.tokenize(f" {at} {at}")), 4, caller="shared") for at in range(6)
    ]
    events = all_at_once(calls)
    computed = chat.engine.measures()["prompt_tokens"] - before["prompt_tokens"]
    assert computed < len(common) + 6 * 8
    assert sorted(one[-1].usage.cached_tokens >= len(common) for one in events) == [False, *[True] * 5]
    assert_sound(chat)


@pytest.mark.parametrize("kind", ["split", "unified"])
def test_a_second_turn_computes_only_what_is_new_and_nobody_elses(kind, request):
    chat = request.getfixturevalue(kind)
    _, first = chat.ask("What is a lighthouse? " + STORY, caller="anna", max_tokens=8)
    talk = ("What is a lighthouse? " + STORY, "A tower.", "And a keeper?")
    assert chat.ask(*talk, caller="bert", max_tokens=1)[1].usage.cached_tokens == 0
    assert chat.ask(*talk, caller="anna", max_tokens=1)[1].usage.cached_tokens >= 0.95 * first.usage.input_tokens


def test_choices_share_their_prompt_and_have_seeds_of_their_own(split):
    before = split.engine.measures()
    prompt = split.vocabulary.tokenize(STORY * 4)
    events = write(split, tuple(prompt), 8, caller="choices", n=4, temperature=1.0, seed=11)
    texts = ["".join(event.text for event in events if isinstance(event, Delta) and event.index == at) for at in range(4)]
    assert len(set(texts)) == 4
    assert sorted(event.index for event in events if isinstance(event, ChoiceDone)) == [0, 1, 2, 3]
    assert split.engine.measures()["prompt_tokens"] - before["prompt_tokens"] < len(prompt) + 4 * 4
    usage = events[-1].usage
    assert (usage.input_tokens, usage.output_tokens) == (len(prompt), 32)
    assert texts[2] == text(write(split, tuple(prompt), 8, caller="choices", temperature=1.0, seed=13))


# who waits for whom


def test_who_reads_nothing_is_passed_over_and_ended(load, monkeypatch):
    monkeypatch.setattr(engine_module, "LAG_SECONDS", 1.0)
    chat = load(n_ctx=512, parallel=2)
    request = GenerateRequest(prompt="Once", max_tokens=400, ignore_eos=True, temperature=0.0)
    stream = chat.backend.generate(request, Context())
    assert text([next(stream)])
    for _ in range(3):
        assert len(text(write(chat, PROMPTS[1]))) > 0
    while chat.engine._running:
        threading.Event().wait(0.01)  # until its time is over
    with pytest.raises(DeadlineError, match="nobody has read"):
        list(stream)
    assert len(text(write(chat, PROMPTS[1]))) > 0


def test_a_reader_who_comes_back_gets_the_rest(load):
    chat = load(n_ctx=512, parallel=2)
    whole = text(write(chat, "Once upon a time", 100))
    stream = chat.backend.generate(
        GenerateRequest(prompt="Once upon a time", max_tokens=100, ignore_eos=True, temperature=0.0), Context()
    )
    read = [next(stream)]
    write(chat, PROMPTS[2])  # meanwhile the first has come to a stop
    assert text([*read, *stream]) == whole


def test_those_whom_nobody_reads_keep_nobody_from_beginning(load):
    chat = load(n_ctx=512, parallel=2)
    whole = text(write(chat, "Once upon a time", 100))
    request = GenerateRequest(prompt="Once upon a time", max_tokens=100, ignore_eos=True, temperature=0.0)
    silent = [chat.backend.generate(request, Context(CallInfo(caller=f"{at}"))) for at in range(2)]
    first = [next(stream) for stream in silent]
    assert len(text(write(chat, PROMPTS[2]))) > 0
    assert [text([one, *stream]) for one, stream in zip(first, silent, strict=True)] == [whole] * 2


def test_a_long_prompt_lets_a_running_answer_go_on(split):
    running = split.backend.generate(GenerateRequest(prompt="Once", max_tokens=300, ignore_eos=True), Context())
    next(running)
    before = split.engine.measures()
    done = threading.Event()
    long = threading.Thread(target=lambda: (write(split, STORY * 14, 1, caller="long"), done.set()))
    long.start()
    seen = 0
    for event in running:
        seen += isinstance(event, Delta)
        if done.is_set():
            break
    running.close()
    long.join()
    steps = split.engine.measures()["decodes"] - before["decodes"]
    assert seen >= 4
    assert steps >= 300 // 63


# cancelling


def test_answers_are_not_disturbed_by_who_leaves(split):
    alone = text(write(split, PROMPTS[0], 32, caller="steady"))
    dice = random.Random(4)
    over = threading.Event()

    def leave():
        cuts = 0
        while not over.is_set():
            stream = split.backend.generate(
                GenerateRequest(prompt=PROMPTS[dice.randrange(8)] * dice.randint(1, 3), max_tokens=50, ignore_eos=True),
                Context(CallInfo(caller=f"{dice.random()}")),
            )
            for _ in range(dice.randint(0, 2)):
                next(stream)
            stream.close()
            cuts += 1
        return cuts

    def stay():
        try:
            return [text(write(split, PROMPTS[0], 32, caller="steady")) for _ in range(3)]
        finally:
            over.set()

    stayed, *left = all_at_once([stay, leave, leave])
    assert stayed == [alone] * 3
    assert sum(left) > 10
    write(split, "x", 1)
    assert_sound(split)


def test_a_cancelled_prompt_is_given_up_within_a_step(split):
    before = split.engine.measures()["prompt_tokens"]
    context = Context(CallInfo(caller="gone"))
    stream = split.backend.generate(GenerateRequest(prompt=STORY * 18, max_tokens=1), context)
    while split.engine.measures()["prompt_tokens"] == before:
        pass
    context.cancel()
    assert list(stream) == []
    write(split, "x", 1, caller="next")
    assert split.engine.measures()["prompt_tokens"] - before < 300
    assert_sound(split)


# no room


def test_twice_as_much_as_there_are_cells_fails_nobody(load):
    chat = load(n_ctx=256, parallel=8, kv="unified", prefix_memory_mb=0)
    prompts = [f"{number} {STORY}" for number in range(8)]
    events = all_at_once([lambda prompt=prompt: write(chat, prompt, 40) for prompt in prompts])
    assert [one[-1].usage.output_tokens for one in events] == [40] * 8
    assert chat.engine._sequences.used <= chat.engine._sequences.capacity
    write(chat, "x", 1)


# faults


@pytest.mark.parametrize("code", [1, -1, -3])
@pytest.mark.parametrize("kind", ["split", "unified"])
def test_a_decode_that_fails_once_costs_nobody_anything(kind, code, request, monkeypatch):
    chat = request.getfixturevalue(kind)
    alone = [text(write(chat, prompt, 12, caller="alone")) for prompt in PROMPTS[:4]]
    real, calls = llama_cpp.llama_decode, iter(range(10**6))
    monkeypatch.setattr(llama_cpp, "llama_decode", lambda context, batch: code if next(calls) in (2, 9) else real(context, batch))
    beside = all_at_once([lambda prompt=prompt: write(chat, prompt, 12, caller=f"{code}") for prompt in PROMPTS[:4]])
    assert not [one for one in beside if isinstance(one, Exception)]
    if kind == "split":
        assert [text(one) for one in beside] == alone
    monkeypatch.undo()
    write(chat, "x", 1)
    assert_sound(chat)


def test_a_request_that_cannot_be_computed_fails_alone(split, monkeypatch):
    bad = 40_000  # that no other prompt has
    real = llama_cpp.llama_decode

    def refuse(context, batch):
        return -3 if bad in [batch.token[at] for at in range(batch.n_tokens)] else real(context, batch)

    monkeypatch.setattr(llama_cpp, "llama_decode", refuse)
    calls = [lambda prompt=prompt: write(split, prompt, 12, caller="good") for prompt in PROMPTS[:3]]
    *good, failed = all_at_once([*calls, lambda: write(split, (bad, 5, 6), 12)])
    assert isinstance(failed, RuntimeError)
    assert "-3" in str(failed)
    assert [one[-1].usage.output_tokens for one in good] == [12] * 3
    monkeypatch.undo()
    write(split, "x", 1)
    assert_sound(split)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_model_that_computes_no_numbers_fails_the_answer_alone(split, monkeypatch, temperature):
    real, calls = type(split.engine._decoder).logits, iter(range(10**6))

    def broken(self, count):
        rows = real(self, count)
        if next(calls) == 3:
            rows[0] = float("nan")
        return rows

    monkeypatch.setattr(type(split.engine._decoder), "logits", broken)
    with pytest.raises(RuntimeError, match="no probabilities"):
        write(split, "Once", 12, temperature=temperature)
    assert text(write(split, "Once", 4))


def test_a_fault_in_the_engine_itself_is_told_and_does_not_end_it(split, monkeypatch):
    monkeypatch.setattr(engine_module, "plan", lambda *_: [][0])
    with pytest.raises(IndexError):
        write(split, "Once", 4)
    monkeypatch.undo()
    assert text(write(split, "Once", 4))
    assert_sound(split)


def test_codes_that_follow_each_other_end_nothing(unified, monkeypatch):
    real, codes = llama_cpp.llama_decode, iter([0, 0, -3, 1, 1, -3, 1, 0, -3, -1, 1, 1, -3])
    monkeypatch.setattr(llama_cpp, "llama_decode", lambda context, batch: next(codes, 0) or real(context, batch))
    all_at_once([lambda prompt=prompt: write(unified, prompt, 12, caller="codes") for prompt in PROMPTS[:4]])
    monkeypatch.undo()
    assert write(unified, "x", 3)[-1].usage.output_tokens == 3
    assert_sound(unified)


def test_unloading_under_load_tells_everybody(load):
    chat = load(n_ctx=512, parallel=4)
    started = threading.Barrier(9)

    def ask(at):
        stream = chat.backend.generate(GenerateRequest(prompt=PROMPTS[at], max_tokens=400, ignore_eos=True), Context())
        started.wait()
        return list(stream)

    def unload():
        started.wait()
        chat.backend.unload()

    *asked, _ = all_at_once([*(lambda at=at: ask(at) for at in range(8)), unload])
    assert all(isinstance(one, NotReadyError) for one in asked)
