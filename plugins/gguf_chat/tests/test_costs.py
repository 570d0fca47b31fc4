"""What a decode costs: measured, interpolated, and not misled by single steps."""

import pytest
from hypothesis import given, strategies as st
from modelhost_gguf_chat.engine.costs import OUTLIER, STALE, TRIES, Costs


def measured(**sizes):
    costs = Costs()
    for name, milliseconds in sizes.items():
        for _ in range(TRIES):
            costs.note(int(name[1:]), milliseconds)
    return costs


def test_between_sizes_it_is_in_proportion_and_beyond_the_largest_by_the_token():
    costs = measured(_1=10.0, _3=20.0)
    assert (costs.of(1), costs.of(2), costs.of(3), costs.of(6)) == (10.0, 15.0, 20.0, 40.0)
    assert Costs().of(5) is None


def test_one_slow_step_changes_little():
    costs = measured(_1=10.0)
    costs.note(1, 10_000.0)
    assert costs.of(1) < 10.0 * OUTLIER
    for _ in range(60):
        costs.note(1, 20.0)
    assert costs.of(1) == pytest.approx(20.0, rel=0.01)


def test_the_best_size_is_the_one_with_the_most_tokens_a_millisecond():
    assert measured(_1=10.0, _2=25.0).best_of([1, 2]) == 1
    assert measured(_1=10.0, _2=19.0).best_of([1, 2]) == 2
    assert measured(_1=10.0, _8=60.0).best_of([1, 2, 8]) == 2  # nobody knows it


def test_what_has_not_been_measured_for_long_is_tried_again():
    costs = measured(_2=25.0, _1=10.0)
    for _ in range(STALE):
        costs.note(1, 10.0)
    assert costs.best_of([1, 2]) == 2
    assert costs.sizes(8) == [1]


@given(
    st.dictionaries(st.integers(1, 63), st.floats(1, 500), min_size=1, max_size=8),
    st.floats(1, 1000),
    st.integers(1, 63),
)
def test_as_many_as_fit_into_a_time_and_one_more_do_not(means, milliseconds, most):
    costs = Costs()
    running = 0.0
    for size, step in sorted(means.items()):
        running += step  # larger ones take longer
        costs.note(size, running)
    found = costs.most_within(milliseconds, most)
    assert 1 <= found <= most
    if found > 1:
        assert costs.of(found) <= milliseconds
    if found < most:
        assert costs.of(found + 1) > milliseconds
