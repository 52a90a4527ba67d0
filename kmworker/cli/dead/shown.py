"""What a person and a program see of dead letters."""

import base64
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from kmworker.cli.terminal.output import column_table, display, grid, line, plural, to_the_second
from kmworker.domain.message import LEFT_OFF
from kmworker.wire.dead_letters.reading import MIN_ID_CHARACTERS, DeadLetter

__all__ = ["by_reason", "oldest", "print_dead_letter", "print_table", "summary", "whole"]

COLUMNS: Final = ("message id", "dead at", "reason", "type", "event id", "attempts", "detail")
NONE: Final = "-"


def print_table(dead_letters: Iterable[DeadLetter]) -> None:
    """Print one line for each."""
    display(
        column_table(COLUMNS, map(_row, dead_letters), whole={"message id", "dead at", "reason"})
    )


def print_dead_letter(dead: DeadLetter) -> None:
    """Print all there is to a dead letter, the event as it was sent last."""
    display(grid(_lines(dead)))
    line("")
    line(_body(dead) or _unshown(dead))


def summary(dead: DeadLetter) -> dict[str, Any]:
    """Return a dead letter for JSON, without the event."""
    return {
        "message_id": dead.message_id,
        "event_id": dead.event_id,
        "event_type": dead.event_type,
        "reason": dead.reason,
        "detail": dead.detail,
        "routing_key": dead.routing_key,
        "user": dead.user or None,
        "dead_at": dead.dead_at,
        "attempts": dead.attempts,
        "not_replayable": dead.obstacle or None,
    }


def whole(dead: DeadLetter) -> dict[str, Any]:
    """Return a dead letter for JSON with the event's bytes, as text where they are any."""
    body = _body(dead)
    return {
        **summary(dead),
        "properties": _plain(dict(dead.original.properties)),
        "body": body,
        "body_base64": None
        if body is not None or dead.dropped is not None
        else base64.b64encode(dead.original.body).decode("ascii"),
        "body_bytes": len(dead.original.body) if dead.dropped is None else dead.dropped.size_bytes,
    }


def oldest(dead_letters: list[DeadLetter], limit: int) -> list[DeadLetter]:
    """Return the oldest in order; those without a time come last."""

    def age(dead: DeadLetter) -> tuple[bool, float]:
        return dead.dead_at_s is None, dead.dead_at_s or 0.0

    return sorted(dead_letters, key=age)[:limit]


def by_reason(reasons: Counter[str]) -> str:
    """Return how many dead letters there are, and how many of each reason."""
    number = plural(reasons.total(), "dead letter")
    parts = [f"{reason or 'no reason'} {count:,}" for reason, count in sorted(reasons.items())]
    return f"{number}: {', '.join(parts)}" if parts else number


def _row(dead: DeadLetter) -> tuple[str, ...]:
    return (
        dead.message_id[:MIN_ID_CHARACTERS],
        to_the_second(dead.dead_at) or NONE,
        dead.reason or NONE,
        dead.event_type or NONE,
        dead.event_id or NONE,
        f"{dead.attempts:,}",
        dead.detail or dead.obstacle,
    )


def _lines(dead: DeadLetter) -> Iterator[tuple[str, str]]:
    yield "message id", dead.message_id
    yield "reason", dead.reason or NONE
    yield "detail", dead.detail or NONE
    yield "dead at", dead.dead_at or NONE
    yield "attempts", f"{dead.attempts:,}"
    yield "event id", dead.event_id or NONE
    yield "event type", dead.event_type or NONE
    yield "user", dead.user or NONE
    yield "routing key", dead.routing_key or NONE
    if dead.obstacle:
        yield "no replay", dead.obstacle
    headers = dead.original.properties.get("application_headers") or {}
    if LEFT_OFF in headers:
        yield "left off", str(_plain(headers[LEFT_OFF]))
    for name, value in dead.original.properties.items():
        if name not in {"application_headers", "message_id"}:
            yield name, str(_plain(value))
    for name, value in headers.items():
        if not str(name).startswith("x-kmworker-"):
            yield f"header {_plain(name)}", str(_plain(value))


def _unshown(dead: DeadLetter) -> str:
    if dead.dropped is not None:
        return f"a body of {plural(dead.dropped.size_bytes, 'byte')}, which is not kept"
    return f"{plural(len(dead.original.body), 'byte')} that are no text"


def _body(dead: DeadLetter) -> str | None:
    if dead.dropped is not None:
        return None
    try:
        return dead.original.body.decode()
    except UnicodeDecodeError:
        return None


def _plain(value: Any) -> Any:  # noqa: ANN401  # whatever AMQP can carry
    """Return it as JSON can; bytes with marks for what is no text."""
    if isinstance(value, Mapping):
        return {str(_plain(name)): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode(errors="replace")
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)
