"""What the next decode holds: answers first, prompts as far as there is time, and nobody starves."""

from hypothesis import given, strategies as st
from modelhost_gguf_chat.engine.costs import Costs
from modelhost_gguf_chat.engine.plan import SMALLEST, Limits, Row, plan

LIMITS = Limits(63, 250.0)


def known(per_token=4.0, first=8.0, most=63):
    """Costs that grow by the token."""
    costs = Costs()
    for size in range(1, most + 1):
        for _ in range(3):
            costs.note(size, first + per_token * size)
    return costs


def rows_of(lefts, callers=None, priorities=None):
    return [
        Row(at, left, at, 0, callers[at] if callers else "", 0, priorities[at] if priorities else 0)
        for at, left in enumerate(lefts)
    ]


@given(st.lists(st.integers(1, 500), min_size=1, max_size=20), st.integers(2, 80), st.sampled_from([0.0, 50.0, 500.0]))
def test_a_step_holds_no_more_than_it_may_and_something_always(lefts, most, gap):
    rows = rows_of(lefts)
    shares = plan(rows, known(), Limits(most, gap))
    assert shares
    assert sum(share.size for share in shares) <= most
    assert len({share.sequence for share in shares}) == len(shares)
    assert all(1 <= share.size <= lefts[share.sequence] for share in shares)


@given(st.integers(1, 10), st.lists(st.integers(2, 5000), min_size=1, max_size=5), st.floats(20, 1000))
def test_prompts_keep_answers_waiting_no_longer_than_they_may(writing, prompts, gap):
    costs = known()
    rows = rows_of([1] * writing + prompts)
    shares = plan(rows, costs, Limits(63, gap))
    assert [share.sequence for share in shares[:writing]] == [*range(writing)]
    size = sum(share.size for share in shares)
    assert costs.of(size) <= gap or size - writing <= SMALLEST


def test_without_answers_a_prompt_gets_the_whole_step():
    assert plan(rows_of([5000]), known(), Limits(63, 10.0))[0].size == 63


def test_priority_goes_before_turns_and_turns_before_arrival():
    rows = [
        Row(0, 100, 0, 0, "anna", 9),
        Row(1, 100, 1, 0, "bert", 3),
        Row(2, 100, 2, 0, "carl", 9, priority=1),
        Row(3, 100, 3, 0, "bert", 3),
    ]
    assert [share.sequence for share in plan(rows, known(), Limits(1000, 0.0))] == [2, 1, 3, 0]


def test_answers_take_turns_where_two_in_a_step_cost_more_than_two_steps():
    costs = Costs()
    for _ in range(3):
        costs.note(1, 10.0)
        costs.note(2, 25.0)
    rows = [Row(0, 1, 0, 5, "", 0), Row(1, 1, 1, 4, "", 0)]
    assert [share.sequence for share in plan(rows, costs, LIMITS)] == [1]
    for _ in range(30):
        costs.note(2, 15.0)
    assert {share.sequence for share in plan(rows, costs, LIMITS)} == {0, 1}


def test_a_size_that_nobody_has_measured_is_tried():
    costs = Costs()
    for _ in range(3):
        costs.note(1, 10.0)
    assert len(plan(rows_of([1, 1, 1]), costs, LIMITS)) == 3


def test_a_draft_is_checked_where_an_answer_has_the_step_to_itself():
    row = Row(0, 1, 0, 0, "", 0, 0, drafts=15)
    (share,) = plan([row], known(), LIMITS)
    assert (share.size, share.drafts) == (16, 15)
    beside = plan([row, Row(1, 40, 1, 0, "", 0)], known(), LIMITS)
    assert [(share.size, share.drafts) for share in beside] == [(1, 0), (40, 0)]


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 300), st.integers(1, 20)), min_size=1, max_size=12),
    st.sampled_from([0.0, 60.0, 250.0]),
)
def test_everybody_comes_to_an_end_and_a_callers_prompts_in_order(jobs, gap):
    costs = known()
    lefts = {at: prompt for at, (_, prompt, _) in enumerate(jobs)}
    writes = {at: answer for at, (_, _, answer) in enumerate(jobs)}
    served, callers, read = dict.fromkeys(lefts, 0), {}, []
    work = sum(prompt + answer for _, prompt, answer in jobs)
    for step in range(1, 4 * work + 50):
        rows = [Row(at, left, at, served[at], jobs[at][0], callers.get(jobs[at][0], 0)) for at, left in lefts.items()]
        if not rows:
            break
        for share in plan(rows, costs, Limits(63, gap)):
            at = share.sequence
            served[at] = step
            if lefts[at] > 1:
                callers[jobs[at][0]] = step
            lefts[at] -= share.size
            if not lefts[at]:
                if writes[at] == jobs[at][2]:
                    read.append(at)
                writes[at] -= 1
                lefts[at] = 1
                if not writes[at]:
                    del lefts[at]
    assert not lefts
    for caller in "abc":
        mine = [at for at in read if jobs[at][0] == caller and jobs[at][1] > 1]
        assert mine == sorted(mine)
