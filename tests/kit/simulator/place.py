"""Where a worker runs: one process after the other, as a supervisor has it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from kmworker.errors import SetupError
from tests.kit.simulator.installation import Installation, Process
from tests.kit.simulator.invariants import Invariant
from tests.kit.simulator.steps import Crash, Fault, Step

MAX_LIVES: Final = 60
MAX_TURNS: Final = 300
Faults = Mapping[int, Fault]
"""By the number of the step that they strike at, in one process's life."""


class Place:
    """Where a supervisor keeps one worker running: one process after the other.

    Args:
        site: the installation that they work in.
        faults: of each process in turn; whoever comes later has none.

    Attributes:
        lives: the processes so far.
        opened: how many steps the first took before there was anything to do.
        between: called before each of their steps.
    """

    def __init__(self, site: Installation, faults: Sequence[Faults] = ()) -> None:
        self.site = site
        self.lives: list[Process] = []
        self.opened = 0
        self.between: Callable[[str], None] = lambda _name: None
        self.refusal: SetupError | None = None
        """Why a worker does not use the store, where none may."""
        self._faults = faults

    @property
    def steps(self) -> list[list[Step]]:
        """Return the steps of each process."""
        return [process.host.steps.taken for process in self.lives]

    @property
    def activity(self) -> int:
        """Return a number that stands still while there is nothing to do."""
        busy = sum(process.host.steps.busy for process in self.lives)
        failures = sum(process.tally.totals["failures"] for process in self.lives)
        return busy + failures + len(self.lives)

    def turn(self) -> None:
        """Let the process go once around its loop; start another if it ends."""
        if self.refusal is not None:
            return
        process = self.lives[-1] if self.lives else self._start()
        try:
            process.turn()
        except Crash:
            self.hand_over()
        except SetupError as refusal:
            if not self.site.must_be_refused:
                raise
            process.die()
            self.refusal = refusal

    def hand_over(self) -> None:
        """End the process, and let another go on."""
        self.lives[-1].die()
        self._start()

    def turn_until_quiet(self) -> None:
        """Take turns until one goes by without anything to do."""
        before = -1
        for _ in range(MAX_TURNS):
            if before == self.activity:
                return
            before = self.activity
            self.turn()
        self.site.ledger.violated(Invariant.AT_REST, f"not after {MAX_TURNS} turns")
        self.site.ledger.raise_violation()

    def _start(self) -> Process:
        number = len(self.lives)
        if number >= MAX_LIVES:
            self.site.ledger.violated(Invariant.AT_REST, f"{number} processes were not enough")
            self.site.ledger.raise_violation()
        faults = self._faults[number] if number < len(self._faults) else {}
        self.lives.append(self.site.process(faults=faults))
        self.lives[-1].host.steps.between = self._between
        return self.lives[-1]

    def _between(self, name: str) -> None:
        self.between(name)
