"""The sampler beside plain sorting, and beside llama.cpp's own."""

import ctypes
import math
from collections import Counter

import llama_cpp
import numpy as np
import pytest
from hypothesis import given, strategies as st
from modelhost_gguf_chat.engine.sampling import Sampler, Sampling

PLAIN = Sampling(1.0, 1.0, 0, 0.0, 1.0, 64, 0.0, 0.0, 7, ())
LOGITS = st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=60).map(lambda values: np.array(values, np.float32))


def probabilities(logits, sampling):
    """What the parameters mean, by sorting everything: top_k, top_p, min_p, temperature, in llama.cpp's order."""
    values = logits.astype(np.float64)
    order = np.argsort(-values, kind="stable")
    if sampling.top_k:
        order = order[: sampling.top_k]
    weights = np.exp(values[order] - values.max())
    if sampling.top_p < 1:
        order = order[: int(np.searchsorted(np.cumsum(weights), sampling.top_p * weights.sum())) + 1]
        weights = weights[: len(order)]
    order = order[: max(1, int(np.count_nonzero(weights >= sampling.min_p)))]
    weights = weights[: len(order)] ** (1 / sampling.temperature)
    return {int(token): weight / weights.sum() for token, weight in zip(order, weights, strict=True)}


def drawn(logits, sampling, times):
    sampler = Sampler(sampling, [])
    return Counter(sampler.sample(logits.copy()) for _ in range(times))


@given(
    LOGITS,
    st.sampled_from([0, 1, 5, 40]),
    st.sampled_from([0.0, 0.3, 0.9, 1.0]),
    st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    st.sampled_from([0.01, 0.7, 1.0, 2.0]),
)
def test_nothing_is_drawn_that_the_parameters_rule_out(logits, top_k, top_p, min_p, temperature):
    sampling = PLAIN._replace(top_k=top_k, top_p=top_p, min_p=min_p, temperature=temperature)
    expected = probabilities(logits, sampling)
    edge = max(0.0, min(expected.values()) * (1 - 1e-3))  # a token at the edge of top_p may fall to either side by rounding
    for token in drawn(logits, sampling, 20):
        assert token in expected or edge == 0 or abs(logits[token] - min(logits[other] for other in expected)) < 1e-3


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"temperature": 0.5},
        {"temperature": 2.0},
        {"top_k": 5},
        {"top_p": 0.9},
        {"min_p": 0.1},
        {"top_k": 20, "top_p": 0.95, "min_p": 0.05, "temperature": 0.7},
        {"top_p": 0.999},
    ],
)
@pytest.mark.parametrize("spread", [0.0, 1.0, 6.0])
def test_tokens_are_drawn_as_often_as_they_are_likely(change, spread):
    logits = np.random.default_rng(1).normal(0, spread, 700).astype(np.float32)
    sampling = PLAIN._replace(**change)
    expected = probabilities(logits, sampling)
    times = 4000
    seen = drawn(logits, sampling, times)
    bins = [(seen[token], weight * times) for token, weight in expected.items() if weight * times >= 5]
    rest = [(seen[token], weight * times) for token, weight in expected.items() if weight * times < 5]
    bins.append((sum(count for count, _ in rest), max(1e-9, sum(weight for _, weight in rest))))
    chi = sum((count - weight) ** 2 / max(weight, 5) for count, weight in bins)
    assert chi < len(bins) + 5 * math.sqrt(2 * len(bins)) + 10
    assert set(seen) <= set(expected)


def by_llama(logits, *samplers):
    """What llama.cpp's samplers leave of logits: the values by token."""
    data = (llama_cpp.llama_token_data * len(logits))(
        *(llama_cpp.llama_token_data(at, float(value), 0.0) for at, value in enumerate(logits))
    )
    array = llama_cpp.llama_token_data_array(data, len(logits), -1, False)
    for sampler in samplers:
        llama_cpp.llama_sampler_apply(sampler, ctypes.byref(array))
        llama_cpp.llama_sampler_free(sampler)
    return {array.data[at].id: array.data[at].logit for at in range(array.size)}


@given(LOGITS, st.integers(1, 50), st.floats(0.05, 0.99), st.floats(0.01, 0.9))
def test_the_tokens_left_are_those_that_llama_cpp_leaves(logits, top_k, top_p, min_p):
    logits = logits + np.linspace(0, 0.5, len(logits), dtype=np.float32)  # no ties, whose order is nobody's business
    left = by_llama(
        logits,
        llama_cpp.llama_sampler_init_top_k(top_k),
        llama_cpp.llama_sampler_init_top_p(top_p, 1),
        llama_cpp.llama_sampler_init_min_p(min_p, 1),
    )
    expected = set(probabilities(logits, PLAIN._replace(top_k=top_k, top_p=top_p, min_p=min_p)))
    assert len(expected ^ set(left)) <= 1  # at the edge float32 and float64 may differ


@given(LOGITS, st.lists(st.integers(0, 59), max_size=30), st.floats(0.5, 2), st.floats(-2, 2), st.floats(-2, 2))
def test_penalties_are_those_of_llama_cpp(logits, said, repeat, presence, frequency):
    said = [token % len(logits) for token in said]
    sampling = PLAIN._replace(repeat_penalty=repeat, presence_penalty=presence, frequency_penalty=frequency)
    sampler = Sampler(sampling, said)
    for token in said:
        if sampler._counts is not None:
            sampler._counts[token] = sampler._counts.get(token, 0) + 1
    ours = logits.copy()
    sampler._adjust(ours)
    first = llama_cpp.llama_sampler_init_penalties(len(logits), 64, repeat, 0.0, 0.0)
    second = llama_cpp.llama_sampler_init_penalties(len(logits), 64, 1.0, frequency, presence)
    for chain in (first, second):
        for token in said:
            llama_cpp.llama_sampler_accept(chain, token)
    theirs = by_llama(logits, first, second)
    assert ours == pytest.approx([theirs[at] for at in range(len(logits))], rel=1e-4, abs=1e-4)


def test_a_bias_decides_and_an_infinite_one_forbids():
    logits = np.array([5, 4, 3], np.float32)
    assert set(drawn(logits, PLAIN._replace(bias=((2, 100.0),)), 20)) == {2}
    assert 0 not in drawn(logits, PLAIN._replace(bias=((0, -math.inf),)), 200)
    assert set(drawn(logits, PLAIN._replace(temperature=0.0, bias=((0, -100.0),)), 5)) == {1}


def test_equals_are_equally_likely_and_the_first_of_them_is_the_greedy_choice():
    logits = np.zeros(8, np.float32)
    assert set(drawn(logits, PLAIN, 400)) == set(range(8))
    assert set(drawn(logits, PLAIN._replace(temperature=0.0), 3)) == {0}
    assert set(drawn(logits, PLAIN._replace(top_k=3), 200)) == {0, 1, 2}
    assert set(drawn(logits, PLAIN._replace(top_p=0.0), 20)) == {0}
    assert set(drawn(logits, PLAIN._replace(min_p=1.0), 400)) == set(range(8))


@pytest.mark.parametrize("value", [math.nan, -math.inf])
@pytest.mark.parametrize("change", [{}, {"top_k": 40}])
def test_what_is_no_probability_is_an_error(value, change):
    with pytest.raises(RuntimeError, match="no probabilities"):
        Sampler(PLAIN._replace(**change), []).sample(np.full(9, value, np.float32))


def test_a_seed_decides_and_others_decide_otherwise():
    logits = np.zeros(1000, np.float32)
    texts = [[Sampler(PLAIN._replace(seed=seed), []).sample(logits.copy()) for _ in range(1)] for seed in (1, 1, 2, 3, 2**32 - 1)]
    assert texts[0] == texts[1]
    assert len({tuple(text) for text in texts}) == 4
