"""How a token is chosen."""

import math

import torch
from hypothesis import given, strategies as st
from modelhost_gemma_audio.sampling import Sampler, Sampling

LOGITS = st.lists(st.floats(-20, 20), min_size=2, max_size=30)
CPU = torch.device("cpu")


def choices(logits, *, prompt=(), chosen=(), draws=1, **sampling):
    sampler = Sampler(Sampling(**{"seed": 0, **sampling}), prompt, CPU)
    for token in chosen:
        sampler.accept(token)
    return [int(sampler.choose(torch.tensor(logits))) for _ in range(draws)]


@given(LOGITS)
def test_without_a_temperature_the_likeliest_comes(logits):
    held = torch.tensor(logits)
    assert held[choices(logits)[0]] == held.max()


@given(LOGITS, st.integers(1, 5), st.integers(0, 2**70))
def test_top_k_leaves_the_k_likeliest(logits, k, seed):
    likeliest = sorted(torch.tensor(logits).tolist(), reverse=True)[:k]
    for token in choices(logits, temperature=2.0, top_k=k, seed=seed, draws=5):
        assert torch.tensor(logits)[token] >= likeliest[-1]


@given(LOGITS, st.floats(0.05, 0.95))
def test_top_p_leaves_the_likeliest_that_together_have_as_much(logits, p):
    shares = torch.tensor(logits).softmax(0)
    for token in choices(logits, temperature=1.0, top_p=p, draws=5):
        assert shares[shares > shares[token]].sum() <= p + 1e-4


@given(LOGITS, st.floats(0.05, 1.0))
def test_min_p_leaves_what_is_at_least_that_share_of_the_likeliest(logits, p):
    shares = torch.tensor(logits).softmax(0)
    for token in choices(logits, temperature=1.0, min_p=p, draws=5):
        assert shares[token] >= p * shares.max() - 1e-4


@given(LOGITS, st.integers(0, 2**64))
def test_a_seed_draws_the_same_again(logits, seed):
    assert choices(logits, temperature=1.5, seed=seed, draws=8) == choices(logits, temperature=1.5, seed=seed, draws=8)


def test_shares_are_those_of_the_temperature():
    drawn = choices([0.0, math.log(3.0)], temperature=1.0, draws=2000)
    assert 0.71 < sum(drawn) / len(drawn) < 0.79
    drawn = choices([0.0, math.log(3.0)], temperature=0.5, draws=2000)
    assert 0.87 < sum(drawn) / len(drawn) < 0.93


def test_what_was_said_becomes_less_likely():
    logits = [1.0, 2.0, 1.9]
    assert choices(logits) == [1]
    assert choices(logits, chosen=[1], presence_penalty=0.5) == [2]
    assert choices(logits, chosen=[1], frequency_penalty=0.05) == [1]
    assert choices(logits, chosen=[1] * 3, frequency_penalty=0.05) == [2]
    assert choices(logits, prompt=[1], presence_penalty=0.5) == [1]  # of the answer alone, as OpenAI counts
    assert choices(logits, prompt=[1], repeat_penalty=1.2) == [2]
    assert choices([-1.0, -2.0], chosen=[0], repeat_penalty=3.0) == [1]  # a negative one must fall too


def test_a_bias_is_added():
    assert choices([1.0, 2.0], bias=((0, 1.5),)) == [0]
    assert set(choices([1.0, 2.0], temperature=2.0, bias=((1, -math.inf),), draws=20)) == {0}
