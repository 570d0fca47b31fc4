"""Who is let in to a model: pure, so that every order of events can be tried."""

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule
from modelhost.pool.admission import BESIDE, Admission, Admitted, Refused, Ticket, Waiting


def test_before_a_model_is_open_everybody_waits_in_the_order_in_which_they_came() -> None:
    admission = Admission()
    assert [admission.offer(Ticket(number=n), 0.0) for n in (1, 2, 3)] == [Waiting(position=n) for n in (1, 2, 3)]
    assert [ticket.number for ticket in admission.open(2)] == [1, 2]
    assert [ticket.number for ticket in admission.done(1)] == [3]


def test_who_takes_no_slot_waits_for_none_that_does() -> None:
    admission = Admission()
    admission.open(1)
    assert admission.offer(Ticket(number=1), 0.0) == Admitted()
    assert admission.offer(Ticket(number=2), 0.0) == Waiting(position=1)
    beside = [admission.offer(Ticket(number=10 + n, counted=False), 0.0) for n in range(BESIDE + 1)]
    assert beside == [Admitted()] * BESIDE + [Waiting(position=1)]


def test_who_has_no_time_left_is_refused_and_does_not_wait() -> None:
    admission = Admission()
    assert admission.offer(Ticket(number=1, deadline=5.0), 5.0) == Refused(reason="deadline")
    assert admission.waiting == 0
    assert admission.open(1) == ()


def test_nobody_is_let_in_to_a_model_that_is_closed() -> None:
    admission = Admission()
    admission.open(1)
    admission.offer(Ticket(number=1), 0.0)
    admission.offer(Ticket(number=2), 0.0)
    admission.close()
    assert admission.done(1) == ()
    assert admission.offer(Ticket(number=3), 0.0) == Waiting(position=2)
    assert [ticket.number for ticket in admission.open(1)] == [2]


class Requests(RuleBasedStateMachine):
    """Requests come, leave and end, and their worker comes and goes, in every order."""

    tickets = Bundle("tickets")

    def __init__(self) -> None:
        super().__init__()
        self.admission = Admission()
        self.slots = 0
        self.number = 0
        self.running: dict[bool, set[int]] = {True: set(), False: set()}
        self.waiting: dict[bool, list[int]] = {True: [], False: []}

    def limit(self, counted: bool) -> int:
        return 0 if not self.slots else self.slots if counted else BESIDE

    def let_in(self, tickets: tuple[Ticket, ...]) -> None:
        for ticket in tickets:
            assert self.waiting[ticket.counted].pop(0) == ticket.number, "in the order in which they came"
            self.running[ticket.counted].add(ticket.number)

    @rule(target=tickets, counted=st.booleans())
    def comes(self, counted: bool) -> Ticket:
        self.number += 1
        ticket = Ticket(number=self.number, counted=counted)
        decision = self.admission.offer(ticket, 0.0)
        if isinstance(decision, Admitted):
            assert not self.waiting[counted], "nobody is overtaken"
            self.running[counted].add(ticket.number)
        else:
            self.waiting[counted].append(ticket.number)
            assert decision == Waiting(position=len(self.waiting[counted]))
        return ticket

    @rule(ticket=consumes(tickets))
    def goes(self, ticket: Ticket) -> None:
        if ticket.number in self.waiting[ticket.counted]:
            self.waiting[ticket.counted].remove(ticket.number)
            self.admission.leave(ticket.number)
            return
        self.running[ticket.counted].discard(ticket.number)
        self.let_in(self.admission.done(ticket.number))
        assert self.admission.done(ticket.number) == (), "a slot is given back once"

    @rule(slots=st.integers(1, 4))
    def is_loaded(self, slots: int) -> None:
        self.slots = slots
        self.running = {True: set(), False: set()}
        self.let_in(self.admission.open(slots))

    @rule(target=tickets)
    def is_lost(self) -> object:
        self.slots = 0
        self.admission.close()
        return multiple()

    @invariant()
    def no_more_are_let_in_than_it_takes_and_nobody_waits_beside_a_free_slot(self) -> None:
        assert self.admission.waiting == sum(map(len, self.waiting.values()))
        for counted in (True, False):
            if self.slots:
                assert len(self.running[counted]) <= self.limit(counted)
            assert not self.waiting[counted] or len(self.running[counted]) >= self.limit(counted)


TestRequests = Requests.TestCase
