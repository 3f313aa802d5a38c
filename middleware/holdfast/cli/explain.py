"""``holdfast explain``: what one response means, and whether the request would be sent again.

The answer is that of the library's own tables, ``core.classify`` and ``core.decide``, for a call under the default
policy with plenty of time left. No call is made.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from holdfast.cli.arguments import CommandError, CommandParser, header, method, one_of, whole_number
from holdfast.cli.plain_screen import PlainScreen, Row
from holdfast.cli.screen import open_screen
from holdfast.core.classify import classify
from holdfast.core.deadline import deadline_after
from holdfast.core.decide import Retry, Situation, decide
from holdfast.core.effect import join_effects
from holdfast.core.error_body import ERROR_BODY_LIMIT
from holdfast.outcome import Effect, Outcome, StopReason
from holdfast.policy import Policy
from holdfast.providers.fiant import FIANT
from holdfast.providers.finix import FINIX
from holdfast.providers.generic import GENERIC
from holdfast.providers.provider import Provider
from holdfast.report import Classification

DESCRIPTION: Final = (
    "Say what one response means: its outcome, its effect, and whether the request would be sent again.\n"
    "No call is made."
)
EPILOG: Final = (
    "example: holdfast explain 503 --provider finix --method POST --keyed --header 'Retry-After: 30'\n\n"
    "exit codes: 0 explained, whatever the outcome; 1 the body cannot be read; 2 bad arguments\n"
    "with --exit-code: 0 success; 3 permanent_failure; 4 retryable; 5 idempotency_conflict"
)

EXIT_CODES: Final[Mapping[Outcome, int]] = {
    Outcome.SUCCESS: 0,
    Outcome.PERMANENT_FAILURE: 3,
    Outcome.RETRYABLE: 4,
    Outcome.IDEMPOTENCY_CONFLICT: 5,
}

_PROVIDERS: Final[Mapping[str, Provider]] = {provider.name: provider for provider in (FINIX, FIANT, GENERIC)}

_OUTCOMES: Final[Mapping[Outcome, str]] = {
    Outcome.SUCCESS: "the provider accepted the request",
    Outcome.PERMANENT_FAILURE: "sending the same request again cannot help",
    Outcome.RETRYABLE: "a passing fault",
    Outcome.IDEMPOTENCY_CONFLICT: "this key or payment was there before: look it up, never pay again",
}
_EFFECTS: Final[Mapping[Effect, str]] = {
    Effect.NONE: "nothing changed at the provider",
    Effect.IN_DOUBT: "it may or may not have happened",
    Effect.LANDED: "it happened",
}
# Whatever stops a first answer that is given time; the rest needs a call's history.
_STOPS: Final[Mapping[StopReason, str]] = {
    StopReason.SUCCEEDED: "it succeeded",
    StopReason.PERMANENT: "the same request would fail again",
    StopReason.CONFLICT: "the first request with this key must be looked up",
    StopReason.UNSAFE_TO_RESEND: "it may have taken effect, and no key that the provider honours protects a second one",
    StopReason.RETRY_AFTER_TOO_LONG: "the wait the provider asks for ends after the call's deadline",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Explanation:
    answer: Classification
    call_effect: Effect
    pause_s: float | None
    """Most seconds before the next attempt; ``None`` when there is none."""

    stop_reason: StopReason | None


def describe(parser: CommandParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("status", metavar="STATUS", type=whole_number(100, 999), help="status code of the response")
    parser.add_argument(
        "--provider",
        type=one_of(_PROVIDERS),
        default="generic",
        metavar="NAME",
        help=f"whose answer it is: {', '.join(_PROVIDERS)} (default generic)",
    )
    parser.add_argument("--method", type=method, default="GET", help="method of the request (default GET)")
    parser.add_argument(
        "--keyed", action="store_true", help="the request carried an idempotency key that this endpoint honours"
    )
    parser.add_argument(
        "--in-doubt", action="store_true", help="an earlier attempt of the same call may have taken effect"
    )
    parser.add_argument(
        "--header", type=header, action="append", default=[], metavar="'K: V'", help="a response header; repeatable"
    )
    parser.add_argument("--body", metavar="FILE", help="file with the response body, - for standard input")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--exit-code", action="store_true", help="let the exit code tell the outcome")


def run(options: argparse.Namespace) -> int:
    """Explain one response.

    Raises:
        CommandError: The body cannot be read.
    """
    explanation = _explain(options, _body(options.body))
    if options.json:
        PlainScreen(sys.stdout).line(json.dumps(_plain(options, explanation)))
    else:
        open_screen(sys.stdout).table(_title(options), _rows(options, explanation))
    return EXIT_CODES[explanation.answer.outcome] if options.exit_code else 0


def _explain(options: argparse.Namespace, body: bytes) -> _Explanation:
    provider = _PROVIDERS[options.provider]
    answer = classify(
        options.status,
        method=options.method,
        headers=_joined(options.header),
        body=body,
        provider=provider,
        keyed=options.keyed,
        in_doubt=options.in_doubt,
    )
    earlier = Effect.IN_DOUBT if options.in_doubt else Effect.NONE
    effect = join_effects(earlier, answer, same_key=options.keyed)
    policy = Policy()
    decision = decide(
        Situation(
            answer=dataclasses.replace(answer, effect=effect),
            attempt=2 if options.in_doubt else 1,
            policy=policy,
            deadline=deadline_after(0.0, policy.deadline),
            now=0.0,
            draw=1.0,  # the longest pause that may be drawn
            may_repeat=options.keyed or options.method in provider.resend_methods,
            replayable=True,
            polls_conflict=provider.polls_conflict,
        )
    )
    if isinstance(decision, Retry):
        return _Explanation(answer=answer, call_effect=effect, pause_s=decision.pause_s, stop_reason=None)
    return _Explanation(answer=answer, call_effect=effect, pause_s=None, stop_reason=decision.reason)


def _body(source: str | None) -> bytes:
    """Read as much of the body as the library would."""
    if source is None:
        return b""
    try:
        if source != "-":
            with Path(source).open("rb") as file:
                return file.read(ERROR_BODY_LIMIT)
        if sys.stdin is None:
            raise CommandError("holdfast: explain: --body - needs standard input, which is closed")
        return sys.stdin.buffer.read(ERROR_BODY_LIMIT)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        why = getattr(error, "strerror", None) or error
        raise CommandError(f"holdfast: explain: cannot read {source}: {why}") from None


def _joined(headers: list[tuple[str, str]]) -> dict[str, str]:
    """Combine repeated headers as RFC 9110 section 5.3 does."""
    joined: dict[str, str] = {}
    for name, value in headers:
        known = next((known for known in joined if known.lower() == name.lower()), name)
        joined[known] = f"{joined[known]}, {value}" if known in joined else value
    return joined


def _title(options: argparse.Namespace) -> str:
    key = "with" if options.keyed else "without"
    doubt = ", after an attempt in doubt" if options.in_doubt else ""
    return f"{options.status} from {options.provider} to a {options.method} {key} an idempotency key{doubt}"


def _rows(options: argparse.Namespace, explanation: _Explanation) -> list[Row]:
    answer = explanation.answer
    rows = [
        Row("outcome", f"{answer.outcome}: {_OUTCOMES[answer.outcome]}"),
        Row("effect", f"{answer.effect}: {_EFFECTS[answer.effect]}"),
        Row("reason", answer.reason),
        Row("sent again", _again(explanation)),
        Row("advised wait", "none" if answer.retry_after is None else f"{answer.retry_after:g} s"),
        Row("logrefs", ", ".join(answer.logrefs) or "none"),
        Row("error codes", ", ".join(_codes(answer, "code")) or "none"),
        Row("failure codes", ", ".join(_codes(answer, "failure_code")) or "none"),
    ]
    if options.in_doubt:
        rows.insert(2, Row("effect of the call", f"{explanation.call_effect}: {_EFFECTS[explanation.call_effect]}"))
    return rows


def _again(explanation: _Explanation) -> str:
    if explanation.stop_reason is not None:
        return f"no, {explanation.stop_reason}: {_STOPS[explanation.stop_reason]}"
    harmless = "nothing happened yet" if explanation.call_effect is Effect.NONE else "a repetition is harmless"
    asked = explanation.answer.retry_after is not None
    # A server-given wait is a floor, under jitter; our own pause is drawn from zero up.
    least = f"{explanation.answer.retry_after:g} to " if asked else "at most "
    return f"yes, {harmless}: after a pause of {least}{explanation.pause_s:g} s"


def _codes(answer: Classification, name: str) -> list[str]:
    return list(dict.fromkeys(code for error in answer.errors if (code := getattr(error, name))))


def _plain(options: argparse.Namespace, explanation: _Explanation) -> dict[str, Any]:
    answer = explanation.answer
    return {
        "status": options.status,
        "provider": options.provider,
        "method": options.method,
        "keyed": options.keyed,
        "in_doubt": options.in_doubt,
        "outcome": answer.outcome,
        "effect": answer.effect,
        "call_effect": explanation.call_effect,
        "reason": answer.reason,
        "sent_again": explanation.stop_reason is None,
        "stop_reason": explanation.stop_reason,
        "pause_max_s": explanation.pause_s,
        "advised_wait_s": answer.retry_after,
        "logrefs": answer.logrefs,
        "error_codes": _codes(answer, "code"),
        "failure_codes": _codes(answer, "failure_code"),
    }
