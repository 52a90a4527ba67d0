"""Does each writer's number come once, and none too few? As far as a part of a trail can tell."""

from typing import Any

from kmworker.audit.lines import Line
from kmworker.audit.records import identity_in
from kmworker.audit.writers import Missing, Novelty, TrailPlace, Writers
from kmworker.clock import unix_s

__all__ = ["WriterNumbers"]


class WriterNumbers:
    """The numbers of writers, along the lines of a trail."""

    def __init__(self) -> None:
        self._writers: Writers | None = Writers()
        """None: nothing is known of them any more."""
        self._is_whole = False
        """They are known from their first on, or from a list of them."""
        self._last_at_s = 0.0

    def begin(self, fields: Any) -> None:  # noqa: ANN401  # parsed JSON
        """Begin with what the first line of a trail says that there was before it."""
        self._is_whole = True
        writers = Writers()
        try:
            writers.restore(fields)
        except ValueError:
            self._writers = None
        else:
            self._writers = writers

    def give_up(self) -> None:
        """Say nothing of them from here on: what comes next is not shown."""
        self._writers = None

    def pass_time(self, at: str) -> None:
        """Note when a line was written: what is missing for long is not on its way."""
        self._last_at_s = max(self._last_at_s, _seconds(at))

    def wrong_with(self, line: Line) -> str:
        """Note a record's number; return what is wrong with it, empty for nothing."""
        if self._writers is None:
            return ""
        known = identity_in(line.fields["record"], line.body)
        if known is None:
            return "it names no writer and number"
        if not self._is_whole:
            # It begins in the midst: who knows which numbers came before.
            self._writers = None
            return ""
        if self._writers.judge(*known) is not Novelty.NEW:
            return f"number {known[1]} of {known[0]} was there before"
        self._writers.note(*known, TrailPlace(line.number, _seconds(line.at)))
        return ""

    def missing(self) -> tuple[list[Missing], list[Missing]]:
        """Return what is missing, and what may be on its way."""
        return ([], []) if self._writers is None else self._writers.missing(self._last_at_s)


def _seconds(at: str) -> float:
    try:
        return unix_s(at)
    except ValueError:
        # A later release's, perhaps: then nothing is late by time.
        return 0.0
