"""Holds the ending of a call against what must come of it, and against the server's books."""

from tests.faults.bench import CALL, KEY
from tests.faults.catalogue import Expected
from tests.faults.rows import Row, Variant
from tests.faults.scene import Ended

from holdfast import Effect, Outcome


def judge(ended: Ended, row: Row, case: str, hits: Variant, wanted: Expected) -> None:
    """Check verdict, resends, requests, effects and body of one call."""
    report = ended.report
    assert (report.outcome, report.effect, len(report.attempts)) == (wanted.outcome, wanted.effect, wanted.attempts)
    assert wanted.reason in (None, report.reason)
    _check_requests(ended, row, hits, wanted)
    _check_ledger(ended, row, case, wanted)
    _check_body(ended)
    assert len(ended.sink.named("outbound.call")) == 1


def _check_requests(ended: Ended, row: Row, hits: Variant, wanted: Expected) -> None:
    """No request is hidden: the server saw those of the report, and no more."""
    healthy = int(hits == "first" and wanted.attempts > 1)
    faulted = wanted.attempts - healthy
    if row.seen is not None:
        assert len(ended.ledger.requests) == faulted * row.seen + healthy
    if row.connects is not None:
        assert ended.ledger.connections == faulted * row.connects + healthy


def _check_ledger(ended: Ended, row: Row, case: str, wanted: Expected) -> None:
    """None means that nothing happened, landed that it did, and one key and one body stand for the whole call."""
    effects, effect = len(ended.ledger.effects), ended.report.effect
    assert ended.ledger.keys <= ({KEY} if case == "PK" else {None})
    # N08: the network itself delivers an unkeyed request twice, and no client can prevent that.
    assert effects <= 1 or (row.id, case) == ("N08", "P")
    if effect is Effect.NONE or wanted.processed == "no":
        assert effects == (1 if effect is Effect.LANDED else 0)
    if effect is Effect.LANDED and wanted.processed == "yes":
        assert effects >= 1
    assert len(ended.ledger.bodies) <= 1
    assert case != "G" or ended.ledger.bodies <= {b""}


def _check_body(ended: Ended) -> None:
    """What a success hands out is whole, and is this call's own."""
    report = ended.report
    if report.reason == "body_unreadable":
        assert ended.body is None
    elif report.outcome is Outcome.SUCCESS and ended.body is not None and b"SUCCEEDED" in ended.body:
        assert CALL.encode() in ended.body
