from holdfast.outcome import Effect, Outcome
from holdfast.protocols import Answer, Fault


def test_an_answer_is_whole_until_somebody_says_otherwise() -> None:
    """A transport written by a user sets only what it knows: an answer must not count as lost by default."""
    answer = Answer(200, {"A": "b"})

    assert answer == Answer(status=200, headers={"A": "b"}, body=b"", unreadable=False, redirects=(), response=None)


def test_a_fault_proves_nothing_until_somebody_says_so() -> None:
    """``bytes_sent=False`` is proof that nothing left; a transport that does not know must not claim it."""
    error = OSError()

    fault = Fault(Outcome.RETRYABLE, Effect.IN_DOUBT, "disconnected", error)

    assert fault == Fault(
        outcome=Outcome.RETRYABLE,
        effect=Effect.IN_DOUBT,
        reason="disconnected",
        error=error,
        bytes_sent=None,
        timed_out=False,
    )
