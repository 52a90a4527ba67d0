"""The settings that tests turn."""

from dataclasses import dataclass
from functools import cache

from kmworker.settings import WaitingSettings, WorkerSettings


@dataclass(frozen=True, slots=True)
class Limits:
    """The settings that tests turn."""

    batch_max: int = 16
    max_attempts: int = 5
    stop_deadline_s: float = 20.0
    waiting_max: int = 1000
    foreign_max: int = 1000
    waiting_deadline_s: float = 3600.0
    sweep_s: float = 10.0

    def worker(self) -> WorkerSettings:
        """Return them as a worker gets them."""
        return _worker_settings(self)

    def waiting(self) -> WaitingSettings:
        """Return those of the waiting rooms as a store gets them."""
        return WaitingSettings(
            max=self.waiting_max,
            foreign_max=self.foreign_max,
            deadline_s=self.waiting_deadline_s,
            sweep_s=self.sweep_s,
        )


@cache
def _worker_settings(limits: Limits) -> WorkerSettings:
    return WorkerSettings(
        batch_max=limits.batch_max,
        max_attempts=limits.max_attempts,
        stop_deadline_s=limits.stop_deadline_s,
    )
