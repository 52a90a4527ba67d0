"""Whether commits are counted as they should be: each that has written something, and no other."""

from collections.abc import Callable
from functools import partial
from typing import Final

from kmworker.store.names import Names
from tests.kit.simulator.invariants import Invariant
from tests.kit.store.direct import Keyspace

# Commands that count as a commit if they write.
COMMITTING: Final = frozenset(("commit", "change", "destroy", "forget", "rewrap"))
# Commands after which the numbers of commits are looked at.
COUNTING: Final = COMMITTING | {"remove", "hincrby"}
COUNTED: Final = ("items", "parked", "keys", "scopes", "holders", "grants")


class CommitCount:
    """What was written, and how many commits were counted, when it was last looked at."""

    def __init__(
        self, keyspace: Keyspace, names: Names, violated: Callable[[Invariant, str], None]
    ) -> None:
        self._keyspace = keyspace
        self._names = names
        self._violated = violated
        self._written: dict[bytes, tuple[int, list[set[tuple[bytes, bytes]]]]] = {}

    def look(self, command: str | None) -> None:
        """Compare the numbers of commits with what a command has written; None: an outsider."""
        if command is not None and command not in COUNTING:
            return
        total = 0
        for project in self._keyspace.members(self._names.top("projects")):
            key = partial(self._names.of, project.decode())
            number = int(self._keyspace.text(key("commits")) or 0)
            there = [self._keyspace.pairs(key(table)) for table in COUNTED]
            before, was_there = self._written.get(project, (0, [set() for _ in COUNTED]))
            self._written[project] = number, there
            total += number
            # A counter that is set to what it says is written, too, and so is a fence.
            is_unseen = command in {"change", "rewrap"} and number == before + 1
            is_other = there != was_there or is_unseen
            if number != before + (command in COMMITTING and is_other):
                detail = f"{project.decode()} counts {number} commits after {before}"
                self._violated(Invariant.NUMBERED, detail)
        of_all = int(self._keyspace.field(self._names.top("commits"), "number") or 0)
        if of_all > total:
            self._violated(Invariant.NUMBERED, f"{of_all} are counted, and there are {total}")
