"""Rows of many requests computed together: the same tokens as each alone, at the first free slot, gone within a step."""

import threading
import time

import pytest
import torch
from modelhost import ComputeThread, NotReadyError, OverloadedError
from modelhost.contract.log import Log, silent
from modelhost_gemma_audio.audio_features import encoder_arguments
from modelhost_gemma_audio.engine import Engine, Row, _groups
from modelhost_gemma_audio.sampling import Sampler, Sampling
from sounds import voiced

LIMIT = 24


@pytest.fixture(scope="module", params=["gemma2", "gemma3", "gemma3n", "gemma4", "gemma4_unified"])
def family(request, load, folder):
    return load(folder(request.param))


@pytest.fixture(scope="module")
def one_family(load, folder):
    """For what has nothing to do with what a family computes."""
    return load(folder("gemma4"))


@pytest.fixture
def engine(request):
    family = request.getfixturevalue("family" if "family" in request.fixturenames else "one_family")
    made = Engine(family.torch, "cpu", slots=3, tidy=False, log=Log(silent))
    made.start(ComputeThread())
    yield made
    made.close()


def row(family, number, *, limit=LIMIT, seconds=None, **sampling):
    """Make a row whose prompt differs by its number, in length too; with sound where the model hears."""
    words = [10 + number] * (3 + 37 * number)
    model = family.model
    clips = (model.parts.audio_features.clip_of(voiced(seconds or 1 + 2.3 * number)),) if model.parts.audio_features else ()
    sound = [model.parts.prompts._sound] * (clips[0].tokens if clips else 0)
    settings = Sampling(**sampling)
    return Row(job=number, prompt=[2, *words, *sound, 11], clips=clips, sampling=settings, limit=limit, ends=frozenset([1]))


def alone(family, one, **settings):
    """Return what Transformers' own `generate` makes of a row."""
    prompt = torch.tensor([one.prompt])
    sound = encoder_arguments(list(one.clips), family.torch.device, family.torch.dtype)
    with torch.inference_mode():
        found = family.torch.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=False,
            max_new_tokens=one.limit,
            eos_token_id=[1],
            pad_token_id=0,
            **sound,
            **settings,
        )
    tokens = found[0, len(one.prompt) :].tolist()
    return tokens[:-1] if tokens and tokens[-1] == 1 else tokens


def test_rows_that_come_and_go_get_the_tokens_that_generate_gives_each_alone(family, engine):
    rows = [row(family, number, limit=LIMIT - 4 * number) for number in range(5)]
    for one in rows:
        engine.submit(one)
    assert [list(one.tokens()) for one in rows] == [alone(family, one) for one in rows]


def test_a_newcomer_joins_rows_that_are_past_their_sliding_window(family, engine):
    long, short = row(family, 3, limit=90, bias=((1, -1e9),)), row(family, 0, limit=20)
    engine.submit(long)
    answer = long.tokens()
    begun = [next(answer) for _ in range(30)]
    engine.submit(short)
    assert list(short.tokens()) == alone(family, short)
    assert begun + list(answer) == alone(family, long, suppress_tokens=[1])


def test_the_same_seed_draws_the_same_tokens_whatever_stands_beside(family, engine):
    def drawn(*beside):
        one = row(family, 1, limit=25, temperature=1.0, top_k=50, top_p=0.9, seed=7)
        for other in (*beside, one):
            engine.submit(other)
        return list(one.tokens())

    assert drawn() == drawn(row(family, 2, temperature=1.5, seed=1), row(family, 4))
    other_seed = row(family, 1, limit=25, temperature=1.0, top_k=50, top_p=0.9, seed=8)
    engine.submit(other_seed)
    assert list(other_seed.tokens()) != drawn()


def test_a_row_that_nobody_reads_any_more_is_gone_within_a_step(one_family, engine):
    endless = row(one_family, 0, limit=100_000, bias=((1, -1e9),))
    engine.submit(endless)
    answer = endless.tokens()
    next(answer)
    answer.close()
    given = endless.given
    follower = row(one_family, 1, limit=1)
    engine.submit(follower)
    list(follower.tokens())
    assert endless.given <= given + 2  # the one that was being computed, and one that the follower joined
    assert endless not in engine._rows


def test_a_job_that_is_cancelled_while_its_prompts_are_read_gives_nothing(one_family, engine, monkeypatch):
    read, reading, go_on = engine._read, threading.Event(), threading.Event()

    def slow(rows):
        reading.set()
        assert go_on.wait(30)
        return read(rows)

    monkeypatch.setattr(engine, "_read", slow)
    one = row(one_family, 0, limit=100_000, bias=((1, -1e9),))
    engine.submit(one)
    assert reading.wait(30)
    engine.cancel(one.job)
    go_on.set()
    assert list(one.tokens()) == []


def test_cancelling_a_job_ends_its_rows_that_run_and_those_that_wait(one_family, engine):
    rows = [row(one_family, 0, limit=100_000, bias=((1, -1e9),)) for _ in range(5)]
    for one in rows:
        engine.submit(one)
    first = rows[0].tokens()
    next(first)
    began = time.monotonic()
    engine.cancel(rows[0].job)
    for _ in first:
        pass
    for one in rows[1:]:
        list(one.tokens())
    assert time.monotonic() - began < 5
    assert not any(one.ended for one in rows)


def test_a_job_with_many_rows_lets_another_in_at_the_first_free_place(one_family, engine):
    many = [row(one_family, 0, limit=8, bias=((1, -1e9),)) for _ in range(9)]
    for one in many:
        one.job = "many"
        engine.submit(one)
    newcomer = row(one_family, 1, limit=1)
    engine.submit(newcomer)
    list(newcomer.tokens())
    assert sum(one.given == 8 for one in many) <= 6
    for one in many:
        assert len(list(one.tokens())) == 8


def test_a_row_that_cannot_be_computed_harms_no_other(one_family, engine):
    good, bad = row(one_family, 1), row(one_family, 2)
    bad.prompt[1] = 10**6  # there is no such token
    blocker = row(one_family, 0, limit=5)
    for one in (blocker, good, bad):
        engine.submit(one)
    with pytest.raises(IndexError):
        list(bad.tokens())
    assert list(good.tokens()) == alone(one_family, good)


def test_prompts_that_are_read_together_hold_what_filling_them_up_costs():
    def prompts(*lengths):
        return [Row(job=0, prompt=[1] * length, clips=(), sampling=Sampling(), limit=1, ends=frozenset()) for length in lengths]

    def encoder_arguments(*lengths):
        return [[len(one.prompt) for one in group] for group in _groups(prompts(*lengths))]

    assert encoder_arguments() == []
    assert encoder_arguments(5, 3) == [[3, 5]]
    assert encoder_arguments(30_000, 10, 20) == [[10, 20], [30_000]]
    assert encoder_arguments(*[5000] * 7) == [[5000] * 3, [5000] * 3, [5000]]


def test_closing_tells_who_waits(one_family):
    engine = Engine(one_family.torch, "cpu", slots=1, tidy=False, log=Log(silent))
    engine.start(ComputeThread())
    running, waiting = row(one_family, 0, limit=100_000, bias=((1, -1e9),)), row(one_family, 1)
    for one in (running, waiting):
        engine.submit(one)
    answer = running.tokens()
    next(answer)
    closing = threading.Thread(target=engine.close)
    closing.start()
    for one in (answer, waiting.tokens()):
        with pytest.raises(NotReadyError, match="unloaded"):
            list(one)
    closing.join()
    with pytest.raises(NotReadyError):
        engine.submit(waiting)


def test_a_step_that_fails_is_told_to_all_its_rows_and_the_next_ones_are_computed(one_family, engine, monkeypatch):
    rows = [row(one_family, number, limit=100_000, bias=((1, -1e9),)) for number in range(2)]
    for one in rows:
        engine.submit(one)
    answers = [one.tokens() for one in rows]
    for answer in answers:
        next(answer)

    def out_of_memory():
        raise torch.OutOfMemoryError

    monkeypatch.setattr(engine, "_step", out_of_memory)
    for answer in answers:
        with pytest.raises(OverloadedError, match="no memory left"):
            list(answer)
    monkeypatch.undo()
    follower = row(one_family, 1)
    engine.submit(follower)
    assert list(follower.tokens()) == alone(one_family, follower)


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), ValueError("of a library")])
@pytest.mark.parametrize("where", ["_step", "_forward"])
def test_what_would_end_the_loop_is_told_to_who_waits_and_the_next_ones_are_computed(
    one_family, engine, monkeypatch, where, error
):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(engine, where, fail)
    broken = row(one_family, 0)
    engine.submit(broken)
    with pytest.raises(type(error)):
        list(broken.tokens())
    monkeypatch.undo()
    follower = row(one_family, 1)
    engine.submit(follower)
    assert list(follower.tokens()) == alone(one_family, follower)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: no memory")])
def test_main_memory_that_is_full_is_no_failure_of_the_backend(one_family, engine, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(engine, "_forward", fail)
    one = row(one_family, 0)
    engine.submit(one)
    with pytest.raises(OverloadedError, match="no memory left"):
        list(one.tokens())


def test_a_sampler_that_fails_harms_no_other(one_family, engine, monkeypatch):
    good, bad = row(one_family, 1), row(one_family, 2, temperature=1.0, seed=1)

    def fail(sampler, logits):
        raise OverflowError

    monkeypatch.setattr(Sampler, "choose", fail)
    for one in (bad, good):
        engine.submit(one)
    with pytest.raises(OverflowError):
        list(bad.tokens())
    assert list(good.tokens()) == alone(one_family, good)


def test_a_row_that_may_have_no_token_ends_at_once(one_family, engine):
    one = row(one_family, 0, limit=0)
    engine.submit(one)
    assert list(one.tokens()) == []
