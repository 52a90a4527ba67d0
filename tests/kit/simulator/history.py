"""What a history is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from kmworker.domain.policy import Policy
from tests.kit.simulator.clients import Ask
from tests.kit.simulator.errands import Doing
from tests.kit.simulator.events import Sent
from tests.kit.simulator.happenings import Happening
from tests.kit.simulator.installation import Limits
from tests.kit.simulator.wire import Publish

__all__ = ["FULL", "LIMITS", "NARROW", "ROOMY", "History"]

# Two tries in company, and then an innocent event has as many alone as there are faults.
LIMITS: Final = Limits(batch_max=4, max_attempts=3, waiting_deadline_s=600.0)
FULL: Final = Limits(
    batch_max=4, max_attempts=3, waiting_deadline_s=600.0, waiting_max=2, foreign_max=1
)
# A batch has fewer than `CAUTIOUS`, and what is prefetched has more.
ROOMY: Final = Limits(batch_max=12, max_attempts=3, waiting_deadline_s=600.0)
NARROW: Final = Limits(batch_max=2, max_attempts=3, waiting_deadline_s=600.0)


def _abhors_nothing(_frame: Publish) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class History:
    """What happens to an installation, apart from faults."""

    goes: tuple[tuple[Sent, ...], ...]
    """Each is published when the one before has come to rest."""
    ends: tuple[Mapping[str, int], ...]
    """What it may come to: items by disposition, and refused events by reason.

    None, if the store comes to be one that no worker may use."""
    limits: Limits = LIMITS
    poison: Mapping[str, BaseException] = field(default_factory=dict)
    before: Mapping[int, tuple[Happening, ...]] = field(default_factory=dict)
    """What else happens, before the go of this number."""
    policy: Policy | None = None
    """None: the shipped one."""
    clocks_ahead_s: tuple[float, ...] = (0.0,)
    """Of the machines that processes run on, one after the other."""
    abhors: Callable[[Publish], bool] = _abhors_nothing
    """Over which message the broker ends the connection."""
    tests_strike_each: int = 1
    """Tests strike every so manieth step: most of its steps are those of another history."""
    delivery_limit: int | None = None
    """What came back more often than that, the broker throws away."""
    is_dead_full: bool = False
    """There is no room for dead letters before the last event has been answered."""
    beside: Mapping[int, tuple[Doing, ...]] = field(default_factory=dict)
    """What is done at the store while the events of a go are worked on: after that, unless
    they race. The first in each go is who is struck, and who races."""
    asks: Mapping[int, tuple[Ask, ...]] = field(default_factory=dict)
    """What clients ask, before the events of a go are published."""
    opens: Mapping[int, Mapping[Ask, str]] = field(default_factory=dict)
    """After a go, what each is answered when it asks then."""
    is_tidied: bool = False
    """In the end, all that is due is done by janitors, and everything that is over ends."""
