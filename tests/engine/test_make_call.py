"""The straight line of a call over an in-memory transport: what is asked of it, in which order, and what comes out."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.support import failure, report, run_virtual

from holdfast import DeadlineExceededError, Effect, Outcome, Policy, StopReason
from holdfast.core.deadline import deadline_after
from holdfast.core.idempotency import KeyPlan
from holdfast.engine.call import Call
from holdfast.engine.drive import make_call
from holdfast.engine.runtime import Runtime
from holdfast.protocols import Answer, Fault, Refused
from holdfast.providers import FINIX, GENERIC
from holdfast.report import Classification
from holdfast.testing import RecordingSink

LOST = Fault(Outcome.RETRYABLE, Effect.IN_DOUBT, "disconnected", ConnectionError())


@dataclass
class Memory:
    """A transport that answers from a list and keeps what it was asked."""

    answers: list[Answer | Fault]
    found: list[Answer | Fault] = field(default_factory=list)
    takes_s: float = 0.0
    replayable: bool = True
    bytes_sent: bool | None = None
    status: int | None = None
    asked: list[tuple[str, float, float]] = field(default_factory=list)
    discarded: list[Answer | Fault] = field(default_factory=list)

    async def send(self, total_s: float, connect_s: float) -> Answer | Fault:
        self.asked.append(("send", total_s, connect_s))
        await asyncio.sleep(self.takes_s)
        return self.answers.pop(0)

    async def look_up(self, address: str, total_s: float, connect_s: float) -> Answer | Fault:
        self.asked.append((address, total_s, connect_s))
        await asyncio.sleep(self.takes_s)
        return self.found.pop(0)

    def discard(self, ended: Answer | Fault) -> None:
        self.discarded.append(ended)


class Refusing:
    """Limits that refuse one thing."""

    def __init__(self, *, circuit: bool = False, retries: int = 1000, enters: int = 1000) -> None:
        self._circuit = circuit
        self._retries = retries
        self._enters = enters
        self.origins: list[str] = []
        self.log: list[str] = []

    def of(self, origin: str, policy: Policy) -> "Refusing":
        del policy
        self.origins.append(origin)
        return self

    def try_enter(self, now: float, deadline_at: float, again: bool, safe: bool) -> int | None:  # noqa: FBT001 - the port
        del deadline_at, again, safe
        assert now == asyncio.get_running_loop().time()
        return None

    async def enter(self, now: float, deadline_at: float, *, again: bool, safe: bool) -> int | Refused:
        del now, deadline_at, safe
        self._enters -= 1
        self.log.append("enter again" if again else "enter")
        return 7 if self._enters >= 0 else Refused(StopReason.CIRCUIT_OPEN, 3.0)

    def leave(
        self, ticket: int, ended: Answer | Fault, verdict: Classification, *, sent_at: float, now: float
    ) -> str | None:
        assert sent_at <= now
        assert (ticket, isinstance(ended, Answer | Fault)) == (7, True)
        self.log.append(f"leave {verdict.reason}")
        return None

    def abandon(self, ticket: int) -> None:
        assert ticket == 7
        self.log.append("abandon")

    def refuses(self) -> bool:
        return self._circuit

    def take_retry(self, ended: Answer | Fault) -> bool:
        del ended
        self._retries -= 1
        return self._retries >= 0

    def give_back_retry(self, ended: Answer | Fault) -> None:
        del ended
        self._retries += 1
        self.log.append("give back")

    def take_news(self) -> str | None:
        return None


async def drive(
    memory: Memory, sink: RecordingSink | None = None, *, limits: Any = None, draw: float = 1.0, **options: Any
) -> tuple[Call, Answer]:
    """Make one call over an in-memory transport."""
    given = {"method": "GET", "url": "https://user:pw@api.test:8443/v1/transfers?q=1#f", "provider": GENERIC, **options}
    policy = given.pop("policy", Policy())
    runtime = Runtime(given["provider"], (sink or RecordingSink(),), limits or Refusing(), lambda: draw)
    started = runtime.now()
    asked = {name: given.pop(name) for name in ("operation", "key", "lookup", "sent", "base_path") if name in given}
    call = Call(policy=policy, deadline=deadline_after(started, policy.deadline), started=started, **given)
    for name, value in asked.items():
        setattr(call, name, value)
    return call, await make_call(call, memory, runtime)


def test_pauses_grow_and_are_reported() -> None:
    """A report that hides the pauses makes a slow provider of a polite client."""
    answers: list[Answer | Fault] = [Answer(503, {}), Answer(503, {}), Answer(503, {}), Answer(200, {})]
    memory = Memory(list(answers), takes_s=1.0)

    call, answer = run_virtual(drive(memory))

    known = call.report()
    assert answer is answers[-1]
    assert [each.pause_s for each in known.attempts] == [0.5, 1.0, 2.0, None]
    assert [each.started_s for each in known.attempts] == pytest.approx([0.0, 1.5, 3.5, 6.5])
    assert [each.elapsed_s for each in known.attempts] == pytest.approx([1.0] * 4)
    assert known.elapsed_s == pytest.approx(7.5)
    assert memory.discarded == answers[:-1]
    assert [total for _, total, _ in memory.asked] == pytest.approx([300.0, 298.5, 296.5, 293.5])
    assert all(connect < total for _, total, connect in memory.asked)


def test_no_attempt_is_begun_after_the_deadline() -> None:
    """A caller's slow loop would send a payment that nobody waits for."""

    async def late() -> BaseException:
        memory = Memory([Answer(200, {})])
        runtime = Runtime(GENERIC)
        call = Call(
            method="POST",
            url="https://api.test/",
            provider=GENERIC,
            policy=Policy(),
            deadline=deadline_after(runtime.now() - 301.0, 300.0),
            started=runtime.now(),
        )
        error = await failure(make_call(call, memory, runtime))
        assert memory.asked == []
        return error

    error = run_virtual(late())

    known = report(error)
    assert isinstance(error, DeadlineExceededError)
    assert (known.effect, known.attempts, known.stop_reason) == (Effect.NONE, (), StopReason.DEADLINE)


@pytest.mark.parametrize(
    ("limits", "stop"),
    [(Refusing(circuit=True), StopReason.CIRCUIT_OPEN), (Refusing(retries=0), StopReason.BUDGET_EXHAUSTED)],
)
def test_limits_stop_retries_and_are_asked_by_origin(limits: Refusing, stop: StopReason) -> None:
    """Retries would go on against a provider that is down for everybody."""
    memory = Memory([Answer(503, {})])

    call, answer = run_virtual(drive(memory, limits=limits))

    assert (answer.status, call.report().stop_reason) == (503, stop)
    assert set(limits.origins) == {"https://api.test:8443"}


def test_a_token_is_taken_only_for_a_retry_that_is_made() -> None:
    """Refusals would empty the budget of calls that can be saved."""
    limits = Refusing(retries=3)

    run_virtual(drive(Memory([Answer(400, {})]), limits=limits))
    run_virtual(drive(Memory([Answer(429, {"Retry-After": "9999"})]), limits=limits))
    run_virtual(drive(Memory([Answer(503, {})]), limits=limits, method="POST"))

    assert [limits.take_retry(LOST) for _ in range(4)] == [True, True, True, False]


def test_the_lookup_goes_below_the_base_path_and_version() -> None:
    """A provider behind a gateway's path would be asked at an address that does not exist."""
    memory = Memory([LOST], [Answer(404, {}), Answer(404, {}), Answer(404, {})])
    options: dict[str, Any] = {
        "method": "POST",
        "provider": FINIX,
        "lookup": FINIX.lookup,
        "key": KeyPlan("k&1"),
        "policy": Policy(max_attempts=1),
        "url": "https://api.test/gateway/v1/transfers",
        "base_path": "/gateway/",
    }

    error = run_virtual(failure(drive(memory, **options)))

    assert [asked[0] for asked in memory.asked[1:]] == [
        "https://api.test/gateway/v1/transfers?idempotency_id=k%261"
    ] * 3
    assert report(error).effect is Effect.IN_DOUBT
    assert all(total <= 30.0 for _, total, _ in memory.asked[1:])


@pytest.mark.parametrize("cancelled", [False, True])
def test_an_answer_in_doubt_is_given_back_once_a_lookup_takes_its_place(*, cancelled: bool) -> None:
    """Each reconciled payment would keep the connection of the answer that nobody reads."""
    doubtful = Answer(500, {})
    body = b'{"id": "TR1", "state": "SUCCEEDED", "idempotency_id": "k"}'
    memory = Memory([doubtful], [Answer(200, {}, body)], takes_s=1.0)
    options: dict[str, Any] = {"method": "POST", "provider": FINIX, "lookup": FINIX.lookup, "key": KeyPlan("k")}

    async def scenario() -> BaseException | None:
        task = asyncio.ensure_future(drive(memory, policy=Policy(max_attempts=1), **options))
        if cancelled:
            await asyncio.sleep(1.5)
            task.cancel()
        await asyncio.wait([task])
        return None if task.cancelled() else task.exception()

    assert run_virtual(scenario()) is None
    assert memory.discarded == [doubtful]


def test_a_transport_that_fails_in_an_unforeseen_way_ends_the_call_with_a_report() -> None:
    """A bug of ours would leave a payment in flight with no trace of it."""
    sink = RecordingSink()

    class Buggy(Memory):
        async def send(self, total_s: float, connect_s: float) -> Answer | Fault:
            raise ZeroDivisionError(total_s, connect_s)

    error = run_virtual(failure(drive(Buggy([]), sink, method="POST")))

    assert isinstance(error, ZeroDivisionError)
    assert report(error).effect is Effect.IN_DOUBT
    assert len(sink.named("outbound.call")) == 1


@pytest.mark.parametrize("sends", [None, False, True])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_cancelled_attempt_is_judged_by_what_had_left(method: str, *, sends: bool | None) -> None:
    """What cannot be known would be reported as known."""

    class Hanging(Memory):
        async def send(self, total_s: float, connect_s: float) -> Answer | Fault:
            return await super().send(total_s + connect_s, 0.0)

    async def scenario() -> BaseException:
        task = asyncio.ensure_future(drive(Hanging([], takes_s=100.0, bytes_sent=sends), method=method))
        await asyncio.sleep(1.0)
        task.cancel()
        return await failure(task)

    error = run_virtual(scenario())

    wanted = Effect.IN_DOUBT if method == "POST" and sends is not False else Effect.NONE
    assert report(error).effect is wanted
    assert report(error).elapsed_s == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("status", "method", "effect"),
    [
        (201, "POST", Effect.LANDED),
        (500, "POST", Effect.IN_DOUBT),
        (400, "POST", Effect.NONE),
        (201, "GET", Effect.NONE),
    ],
)
def test_a_call_cancelled_after_its_head_came_is_judged_by_its_status(status: int, method: str, effect: Effect) -> None:
    """A shutdown while a 201's body is read would report a payment in doubt that is known to have landed."""

    async def scenario() -> BaseException:
        memory = Memory([], takes_s=100.0, bytes_sent=True, status=status)
        task = asyncio.ensure_future(drive(memory, method=method))
        await asyncio.sleep(1.0)
        task.cancel()
        return await failure(task)

    assert report(run_virtual(scenario())).effect is effect


def test_a_landed_answer_is_given_back_when_its_body_cannot_be_fetched() -> None:
    """The newest failure would be taken for the truth about a payment that landed."""
    landed = Answer(201, {}, unreadable=True)
    memory = Memory([landed, LOST, Answer(503, {})])

    call, answer = run_virtual(
        drive(memory, method="POST", provider=FINIX, key=KeyPlan("k"), policy=Policy(max_attempts=3))
    )

    known = call.report()
    assert answer is landed
    assert (known.outcome, known.effect, known.reason) == (Outcome.SUCCESS, Effect.LANDED, "body_unreadable")
    assert known.stop_reason is StopReason.ATTEMPTS_EXHAUSTED


@pytest.mark.parametrize("landed", [True, False])
def test_a_pause_that_overruns_ends_the_call_without_another_send(*, landed: bool) -> None:
    """A machine that slept through the pause would send a payment that nobody waits for any more."""
    first = Answer(201, {}, unreadable=True) if landed else Answer(503, {})
    memory = Memory([first])

    async def scenario() -> tuple[Any, Call]:
        runtime = Runtime(FINIX, limits=Refusing(), sleep=lambda _: asyncio.sleep(1000.0))
        call = Call(
            method="POST",
            url="https://api.test/transfers",
            provider=FINIX,
            policy=Policy(),
            deadline=deadline_after(runtime.now(), 300.0),
            started=runtime.now(),
        )
        call.key = KeyPlan("k")
        try:
            return await make_call(call, memory, runtime), call
        except DeadlineExceededError as error:
            return error, call

    ended, call = run_virtual(scenario())

    known = call.report()
    assert len(memory.asked) == 1
    assert known.stop_reason is StopReason.DEADLINE
    assert known.effect is (Effect.LANDED if landed else Effect.IN_DOUBT)
    assert (ended is first) is landed


def test_every_answer_but_the_one_returned_is_given_back() -> None:
    """Each retried call would keep a connection that nobody reads from."""
    first, second, third = Answer(201, {}, unreadable=True), Answer(503, {}), Answer(503, {})
    memory = Memory([first, second, third])

    _, answer = run_virtual(
        drive(memory, method="POST", provider=FINIX, key=KeyPlan("k"), policy=Policy(max_attempts=3))
    )

    assert answer is first
    assert [each.status for each in memory.discarded if isinstance(each, Answer) and each is not first] == [503, 503]
