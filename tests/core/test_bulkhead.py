from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from holdfast.core.bulkhead import Bulkhead, BulkheadState


def full(limit: int, *waiters: str) -> Bulkhead[str]:
    """Give a bulkhead with no slot left, and a line."""
    bulkhead = Bulkhead[str](limit)
    while bulkhead.enter():
        pass
    for waiter in waiters:
        bulkhead.join(waiter)
    return bulkhead


def test_no_more_than_the_limit_are_in_flight() -> None:
    """The limit is what a small provider bears; one more and all of them time out."""
    bulkhead = Bulkhead[str](3)

    entered = [bulkhead.enter() for _ in range(5)]

    assert (entered, bulkhead.state()) == (
        [True, True, True, False, False],
        BulkheadState(in_flight=3, waiting=0, limit=3),
    )


def test_a_slot_goes_to_the_oldest_waiter() -> None:
    """Out of order, one unlucky payment waits until its deadline while later ones go through."""
    bulkhead = full(1, "first", "second")

    woken = [bulkhead.leave(), bulkhead.leave(), bulkhead.leave()]

    assert (woken, bulkhead.state()) == (["first", "second", None], BulkheadState(in_flight=0, waiting=0, limit=1))


def test_a_newcomer_does_not_overtake_a_waiter_that_has_just_been_woken() -> None:
    """Between waking and running there is time for a newcomer: it must find the slot taken."""
    bulkhead = full(1, "first")
    bulkhead.leave()

    entered = bulkhead.enter()

    assert (entered, bulkhead.state()) == (False, BulkheadState(in_flight=1, waiting=0, limit=1))


def test_a_waiter_that_gives_up_is_passed_over() -> None:
    """A slot handed to somebody who has gone is a slot lost until the process ends."""
    bulkhead = full(1, "gone", "here")

    passed_on = bulkhead.give_up("gone")
    woken = bulkhead.leave()

    assert (passed_on, woken) == (None, "here")


def test_a_slot_handed_to_a_waiter_that_left_at_that_moment_goes_on() -> None:
    """A task can be cancelled after it was given its slot and before it runs: asyncio's classic way to lose one."""
    bulkhead = full(1, "cancelled", "next")
    bulkhead.leave()

    woken = bulkhead.give_up("cancelled")

    assert (woken, bulkhead.state()) == ("next", BulkheadState(in_flight=1, waiting=0, limit=1))


class BulkheadAgainstAList(RuleBasedStateMachine):
    """Compare the bulkhead with a list of those inside and a queue of those outside."""

    @initialize(limit=st.integers(1, 4))
    def begin(self, limit: int) -> None:
        """Choose a size."""
        self.limit = limit
        self.bulkhead = Bulkhead[int](limit)
        self.inside: list[int] = []
        self.outside: deque[int] = deque()
        self.callers = 0

    @rule()
    def arrive(self) -> None:
        """A new caller comes."""
        self.callers += 1
        free = len(self.inside) < self.limit

        entered = self.bulkhead.enter()

        assert entered is free
        if entered:
            self.inside.append(self.callers)
        else:
            self.outside.append(self.callers)
            self.bulkhead.join(self.callers)

    @precondition(lambda self: self.inside)
    @rule(which=st.integers(0, 1000), told=st.booleans())
    def go(self, which: int, told: bool) -> None:  # noqa: FBT001 - a strategy's draw
        """Somebody inside leaves; or gives up, not yet knowing that it is inside."""
        caller = self.inside.pop(which % len(self.inside))
        following = self.outside.popleft() if self.outside else None

        woken = self.bulkhead.leave() if told else self.bulkhead.give_up(caller)

        assert woken == following
        self.inside += [] if following is None else [following]

    @precondition(lambda self: self.outside)
    @rule(which=st.integers(0, 1000))
    def lose_patience(self, which: int) -> None:
        """Somebody outside leaves."""
        caller = self.outside[which % len(self.outside)]
        self.outside.remove(caller)

        woken = self.bulkhead.give_up(caller)

        assert woken is None

    @invariant()
    def they_agree(self) -> None:
        """Nobody is inside twice, and no slot is lost."""
        if self.callers:
            assert self.bulkhead.state() == BulkheadState(
                in_flight=len(self.inside), waiting=len(self.outside), limit=self.limit
            )

    def teardown(self) -> None:
        """When all have gone, all slots are free."""
        while self.inside:
            self.go(0, told=True)
        self.they_agree()


test_the_bulkhead_agrees_with_a_list_and_a_queue = BulkheadAgainstAList.TestCase
test_the_bulkhead_agrees_with_a_list_and_a_queue.settings = settings(max_examples=50, stateful_step_count=30)
