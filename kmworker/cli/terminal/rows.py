"""Tables and lines of JSON that are printed as they come: nobody knows how many there will be."""

import sys
from collections.abc import Sequence
from time import monotonic
from typing import Any, Final

import typer

from kmworker.cli.terminal.output import note, one_json, visible

__all__ = ["Rows"]

WIDEST: Final = 40
# How long someone looks at nothing before wondering.
QUIET_S: Final = 5.0


class Rows:
    """Prints rows, a page at a time; where they go to a file, it says how far it has come."""

    def __init__(self, heads: Sequence[str], limit: int | None, *, as_json: bool) -> None:
        self.printed = 0
        self._heads = heads
        self._limit = limit
        self._as_json = as_json
        self._widths: list[int] = []
        self._seen = 0
        self._said_at = monotonic()

    @property
    def is_full(self) -> bool:
        """Whether there are as many as are wanted."""
        return self._limit is not None and self.printed >= self._limit

    def print(self, rows: Sequence[tuple[Sequence[str], Any]], seen: int) -> bool:
        """Print rows, each as its cells and as what JSON says of it.

        Args:
            rows: what is wanted of a page.
            seen: how many the page had.

        Returns whether more are wanted.
        """
        self._seen += seen
        wanted = rows if self._limit is None else rows[: self._limit - self.printed]
        if wanted:
            self._write([*map(self._line, wanted)] if self._as_json else self._table(wanted))
        self.printed += len(wanted)
        self._say_how_far()
        return len(wanted) == len(rows) and not self.is_full

    def _line(self, row: tuple[Sequence[str], Any]) -> str:
        return visible(one_json(row[1]))

    def _table(self, rows: Sequence[tuple[Sequence[str], Any]]) -> list[str]:
        cells = [[visible(cell) or "-" for cell in row] for row, _ in rows]
        lines = cells
        if not self._widths:
            # As wide as the first page needs: later ones are not known yet.
            lines = [list(self._heads), *cells]
            columns = zip(*lines, strict=True)
            self._widths = [min(max(map(len, column)), WIDEST) for column in columns]
        return [self._aligned(line) for line in lines]

    def _aligned(self, cells: Sequence[str]) -> str:
        padded = (cell.ljust(width) for cell, width in zip(cells, self._widths, strict=True))
        return "  ".join(padded).rstrip()

    def _write(self, lines: Sequence[str]) -> None:
        typer.echo("\n".join(lines))

    def _say_how_far(self) -> None:
        if sys.stdout.isatty() or monotonic() - self._said_at < QUIET_S:
            return
        self._said_at = monotonic()
        note(f"{self.printed:,} so far, of {self._seen:,} looked at")
