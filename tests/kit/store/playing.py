"""Events, decided and written as one batch of a worker's."""

from uuid import uuid4

from kmworker.clock import rfc3339
from kmworker.domain.event import Happening
from kmworker.domain.look_up import grants_to_look_up, items_to_look_up
from kmworker.domain.plan import Committed, Fresh
from kmworker.domain.planner import plan_batch
from tests.kit.builders import SHIPPED, arrived
from tests.kit.store.stand import Stand

__all__ = ["DAYS_30_S", "play"]

DAYS_30_S = 30 * 86_400


def play(stand: Stand, *events: Happening) -> list[Committed]:
    """Decide and write these; what nobody holds any more is due in thirty days."""
    known = stand.look_up(*items_to_look_up(events))
    now = stand.clock.now()
    fresh = Fresh(
        rfc3339(now), lambda: str(uuid4()), stand.custody.kek_id, rfc3339(now + DAYS_30_S)
    )
    grants = stand.first.look_up_grants(grants_to_look_up(events)).result()
    arrivals = [arrived(event, tag) for tag, event in enumerate(events, 1)]
    plan = plan_batch(arrivals, known, SHIPPED.of_one_owner(), fresh, grants=grants)
    return stand.commit(*plan.writes)
