"""The settings that tests turn."""

from dataclasses import dataclass
from functools import cache

from kmworker.settings import (
    BrokerSettings,
    KeyserverSettings,
    Settings,
    StoreSettings,
    WaitingSettings,
    WorkerSettings,
)


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

    def settings(self, source: str) -> Settings:
        """Return them as a worker gets them, with the CloudEvents source of its announcements."""
        return _settings(self, source)


@cache
def _settings(limits: Limits, source: str) -> Settings:
    return Settings(
        broker=BrokerSettings(url="amqp://simulated//", source=source),
        # Whether a store in memory is durable cannot be asked; what it has forgotten can.
        store=StoreSettings(durability="vouched"),
        worker=WorkerSettings(
            batch_max=limits.batch_max,
            max_attempts=limits.max_attempts,
            stop_deadline_s=limits.stop_deadline_s,
        ),
        # Time goes by in many small steps while a request waits for its grant.
        keyserver=KeyserverSettings(wait_s=1.0),
        waiting=WaitingSettings(
            max=limits.waiting_max,
            foreign_max=limits.foreign_max,
            deadline_s=limits.waiting_deadline_s,
            sweep_s=limits.sweep_s,
        ),
    )
