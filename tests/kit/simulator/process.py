"""A worker process, as whoever drives a run sees it."""

from dataclasses import dataclass, field

import pytest

from kmworker.bus.rabbit import RabbitBus
from kmworker.worker.loop import Worker
from kmworker.worker.stages import Milestone, Stages
from kmworker.worker.tally import Tally
from tests.kit.simulator.host import Host
from tests.kit.simulator.steps import Crash
from tests.kit.simulator.troubles import Troubles


@dataclass(slots=True)
class Process:
    """A worker process: gone with everything in it when it dies."""

    worker: Worker
    bus: RabbitBus
    stages: Stages
    tally: Tally
    troubles: Troubles
    host: Host
    steps: list[Milestone] = field(default_factory=list)

    @property
    def is_at_work(self) -> bool:
        """Return whether any events are under way."""
        return bool(self.worker._pipeline)

    @property
    def holds_back(self) -> bool:
        """Return whether dead letters wait for room, or events for their next try."""
        held_back = self.worker._pipeline._held_back
        return bool(held_back._dead_letters or held_back._paused)

    @property
    def paused(self) -> int:
        """Return how many events pause between two tries."""
        return len(self.worker._pipeline._held_back._paused)

    def turn(self, times: int = 1) -> None:
        """Go once around the worker's loop."""
        for _ in range(times):
            self.worker._turn_or_pause()

    def run(self) -> None:
        """Run until it would wait for new events, then let it stop in good order."""
        wait = self.host.when_idle

        def when_idle(seconds: float) -> None:
            if self.paused:
                wait(seconds)
            else:
                self.worker.stop()

        self.host.when_idle = when_idle
        self.worker.run()

    def run_into_crash(self) -> None:
        """Run until the crash that lies ahead, which must be there, and die of it."""
        with pytest.raises(Crash):
            self.run()
        self.die()

    def die(self) -> None:
        """End without a word: what a killed process leaves behind is its connections' end."""
        self.host.cut()
