"""What a person and a program see of dead letters."""

import base64
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from kmworker.cli.output import column_table, display, grid, line, plural, to_the_second
from kmworker.letters import MIN_ID_CHARACTERS, Letter

__all__ = ["by_reason", "oldest", "print_letter", "print_table", "summary", "whole"]

COLUMNS: Final = ("letter", "dead at", "reason", "type", "event id", "attempts", "detail")
NONE: Final = "-"


def print_table(letters: Iterable[Letter]) -> None:
    """Print one line for each."""
    display(column_table(COLUMNS, map(_row, letters), whole={"letter", "dead at", "reason"}))


def print_letter(letter: Letter) -> None:
    """Print all there is to a letter, the event as it was sent last."""
    display(grid(_lines(letter)))
    line("")
    line(_body(letter) or f"{plural(len(letter.original.body), 'byte')} that are no text")


def summary(letter: Letter) -> dict[str, Any]:
    """Return a letter for JSON, without the event."""
    return {
        "message_id": letter.message_id,
        "event_id": letter.event_id,
        "event_type": letter.event_type,
        "reason": letter.reason,
        "detail": letter.detail,
        "routing_key": letter.routing_key,
        "dead_at": letter.dead_at,
        "attempts": letter.attempts,
        "not_replayable": letter.obstacle or None,
    }


def whole(letter: Letter) -> dict[str, Any]:
    """Return a letter for JSON with the event's bytes, as text where they are any."""
    body = _body(letter)
    return {
        **summary(letter),
        "properties": _plain(dict(letter.original.properties)),
        "body": body,
        "body_base64": None
        if body is not None
        else base64.b64encode(letter.original.body).decode("ascii"),
    }


def oldest(letters: list[Letter], limit: int) -> list[Letter]:
    """Return the oldest in order; those without a time come last."""

    def age(letter: Letter) -> tuple[bool, float]:
        return letter.dead_at_s is None, letter.dead_at_s or 0.0

    return sorted(letters, key=age)[:limit]


def by_reason(reasons: Counter[str]) -> str:
    """Return how many letters there are, and how many of each reason."""
    number = plural(reasons.total(), "dead letter")
    parts = [f"{reason or 'no reason'} {count:,}" for reason, count in sorted(reasons.items())]
    return f"{number}: {', '.join(parts)}" if parts else number


def _row(letter: Letter) -> tuple[str, ...]:
    return (
        letter.message_id[:MIN_ID_CHARACTERS],
        to_the_second(letter.dead_at) or NONE,
        letter.reason or NONE,
        letter.event_type or NONE,
        letter.event_id or NONE,
        f"{letter.attempts:,}",
        letter.detail or letter.obstacle,
    )


def _lines(letter: Letter) -> Iterator[tuple[str, str]]:
    yield "letter", letter.message_id
    yield "reason", letter.reason or NONE
    yield "detail", letter.detail or NONE
    yield "dead at", letter.dead_at or NONE
    yield "attempts", f"{letter.attempts:,}"
    yield "event id", letter.event_id or NONE
    yield "event type", letter.event_type or NONE
    yield "routing key", letter.routing_key or NONE
    if letter.obstacle:
        yield "no replay", letter.obstacle
    for name, value in letter.original.properties.items():
        if name not in {"application_headers", "message_id"}:
            yield name, str(_plain(value))
    for name, value in (letter.original.properties.get("application_headers") or {}).items():
        if not str(name).startswith("x-kmworker-"):
            yield f"header {_plain(name)}", str(_plain(value))


def _body(letter: Letter) -> str | None:
    try:
        return letter.original.body.decode()
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
