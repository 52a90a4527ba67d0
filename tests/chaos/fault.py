"""One thing that goes wrong: how it is done to an installation, and how it is undone."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from tests.chaos.ground import Ground

Lift = Callable[[], int | None]
"""Undoes a fault; returns the process whose own progress is to be awaited, or None: anybody's."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong."""

    name: str
    says: str
    """What is done, for the table."""
    on: str
    """What it is done to: two faults at once are on different things."""
    inflict: Callable[[Ground, Random], Lift]
    lasts_s: tuple[float, float] = (0.0, 0.0)
    """From the shortest, for a quick run, to the longest."""
    is_away: bool = False
    """Workers lack a server meanwhile, and must wait for it without haste."""
    needs_broker: bool = False
    """It is not the embedded mode's: RabbitMQ's own, or of a store that has replicas."""
    stops_all: bool = True
    """No worker gets on while it lasts."""
    spans_rounds: bool = False
    """Others come and go while it lasts."""
    is_party: bool = False
    """Somebody with an account, whom the honest must not notice. Each goes on to their own end."""
