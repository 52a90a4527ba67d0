"""How long the chains of endings are: none ever becomes shorter.

Each process remembers how long it has seen each, and looks at some of them every second. For who
has just started, the sum of all is anchored on the broker. The number is read from an entry whose
seal holds, not counted: so nothing that is put into one chain makes up for what is taken from
another.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

from kmworker.errors import PermanentError, StoreUnavailable, UnknownKek
from kmworker.store.connection import store_errors
from kmworker.store.endings import end_in, ends_of
from kmworker.store.inspection import pages
from kmworker.store.names import Names
from kmworker.store.records import RecordCodec

__all__ = ["OF_CLIENTS", "EndingsSeen"]

PAGE_SIZE: Final = 1000
SOME: Final = 500
"""Chains that are looked at in one second; of 100,000 each in a little more than three minutes."""
OF_CLIENTS: Final = ""
"""What stands for a project where the clients' chain is meant."""


class EndingsSeen:
    """One process's memory of how long each chain is.

    Attributes:
        total: how many entries there are in all of them.
    """

    def __init__(self, client: Any, names: Names, codec: RecordCodec) -> None:  # noqa: ANN401  # the library's types leave open whether replies are bytes
        self.total = 0
        self._client = client
        self._names = names
        self._codec = codec
        self._numbers: dict[str, int] = {}
        self._round: Iterator[str] = iter(())
        self._is_round_over = True

    def number(self, project: str) -> int:
        """Return how long a chain was seen to be."""
        return self._numbers.get(project, 0)

    def note(self, project: str, number: int) -> str:
        """Note how long a chain is; return what is wrong with that, '' for nothing."""
        before = self._numbers.get(project, 0)
        if number < before:
            of = f"project {project}" if project else "the clients"
            return f"of {before} endings of {of} it has {number}"
        if number:
            self._numbers[project] = number
            self.total += number - before
        return ""

    def clear(self) -> None:
        """Remember nothing any more."""
        self._numbers.clear()
        self.total = 0

    def look_at_all(self) -> list[str]:
        """Look at all chains; return what is wrong.

        Raises:
            StoreUnavailable: the store does not answer.
            UnknownKek: one is under a KEK that the keyring lacks.
        """
        return [flaw for page in pages(self._projects(), PAGE_SIZE) for flaw in self._look_at(page)]

    def look_at_some(self) -> tuple[list[str], bool]:
        """Look at the next ones; return what is wrong, and whether they are the first of a round.

        Raises:
            StoreUnavailable, UnknownKek: as `look_at_all`.
        """
        is_first = self._is_round_over
        if is_first:
            self._begin_round()
        try:
            page = list(islice(self._round, SOME))
            flaws = self._look_at(page)
        except (StoreUnavailable, UnknownKek):
            # Some have not been looked at: no round is over before they are.
            self._begin_round()
            raise
        self._is_round_over = len(page) < SOME
        return flaws, is_first

    def _begin_round(self) -> None:
        self._round, self._is_round_over = self._projects(), False

    def _projects(self) -> Iterator[str]:
        """Give all that may have a chain, a few at a time: nobody waits for the list of all."""
        yield OF_CLIENTS
        key, cursor, listed = self._names.top("projects"), None, {OF_CLIENTS}
        while cursor != 0:
            with store_errors():
                cursor, names = self._client.sscan(key, cursor or 0, count=SOME)
            page = {name.decode(errors="replace") for name in names} - listed
            listed |= page
            yield from page
        # Whoever takes a project out of the list has not shortened its chain.
        yield from self._numbers.keys() - listed

    def _look_at(self, projects: Sequence[str]) -> list[str]:
        found = zip(projects, ends_of(self._client, self._names, projects), strict=True)
        return [flaw for project, raw in found if (flaw := self._flaw(project, raw))]

    def _flaw(self, project: str, raw: bytes | Exception | None) -> str:
        try:
            number = 0 if isinstance(raw, Exception) else end_in(self._codec, project, raw).number
        except PermanentError:
            # It says nothing that could be believed.
            number = 0
        return self.note(project, number)
