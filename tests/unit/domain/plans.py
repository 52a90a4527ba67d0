"""Plans of batches, and what is in them."""

from collections.abc import Iterable, Mapping

from kmworker.domain.event import Happening
from kmworker.domain.model import Item, State
from kmworker.domain.plan import Arrival, AssignWrite, Outcome, ParkWrite, Plan, Write
from kmworker.domain.planner import plan_batch
from kmworker.domain.policy import Policy
from tests.kit.builders import SHIPPED, arrived, fresh


def folded(
    *arrivals: Arrival, known: Mapping[Item, State] | None = None, policy: Policy = SHIPPED
) -> Plan:
    return plan_batch(arrivals, known or {}, policy, fresh())


def events(*all_events: Happening) -> list[Arrival]:
    return [arrived(event, tag) for tag, event in enumerate(all_events, 1)]


def outcomes(plan: Plan) -> list[Outcome]:
    return [outcome for _arrival, outcome in plan.outcomes]


def assigned(plan: Plan) -> list[tuple[str, str]]:
    """The items that the plan assigns, in the order written, and how."""
    return [
        (write.assignment.item.id, write.assignment.disposition.value)
        for write in plan.writes
        if isinstance(write, AssignWrite)
    ]


def write_of(plan: Plan, item: Item) -> AssignWrite:
    (write,) = (
        write
        for write in plan.writes
        if isinstance(write, AssignWrite) and write.assignment.item == item
    )
    return write


def parked(plan: Plan) -> list[str]:
    return [write.item.id for write in plan.writes if isinstance(write, ParkWrite)]


def assignments(writes: Iterable[Write]) -> list[AssignWrite]:
    return [write for write in writes if isinstance(write, AssignWrite)]
