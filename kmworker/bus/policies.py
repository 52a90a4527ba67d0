"""Whether what applies to a queue throws away what it was given, and how that is repaired. Pure.

Of user policies one applies to a queue; operator policies are merged with it, and arguments of
the declaration with both: the smaller number counts.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from shlex import quote
from typing import Any, Final

from kmworker.bus.management import Governed
from kmworker.wire.topology import Topology

__all__ = ["SHIPPED", "Fault", "faults", "limits_deliveries", "shipped_policy"]

SHIPPED: Final[Mapping[str, Any]] = {"delivery-limit": 1_000_000_000, "overflow": "reject-publish"}
NAME: Final = "kmworker"
PRIORITY: Final = 100
# RabbitMQ 4's own limit is 20. What crashes as often as this is noticed before.
ENDLESS: Final = 1_000_000
FIRST_WITH_A_LIMIT: Final = 4
DELETES: Final = ("message-ttl", "expires")
BOUNDS: Final = ("max-length", "max-length-bytes")
REJECTS: Final = "reject-publish"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a queue."""

    what: str
    remedy: str
    """The command that repairs it."""
    loses: bool = True
    """What was confirmed may be thrown away; else publishers are refused, or may be one day."""


def limits_deliveries(version: str) -> bool:
    """Return whether this RabbitMQ throws away what comes back often, if nothing lifts that."""
    major = version.partition(".")[0]
    return major.isdigit() and int(major) >= FIRST_WITH_A_LIMIT


def faults(it: Governed, version: str, topology: Topology, vhost: str) -> Iterator[Fault]:
    """Give what is wrong with a queue of ours, on a broker of this version."""
    # Above whatever is there; one of our name is replaced.
    priority = max(PRIORITY, it.priority + (it.policy != NAME))
    policy = shipped_policy(topology, vhost, priority)
    rejects = _value(it, "overflow") == REJECTS
    for name in (*DELETES, *BOUNDS):
        if _value(it, name) is not None:
            yield _fault(it, name, vhost, policy, loses=name in DELETES or not rejects)
    limit = _value(it, "delivery-limit")
    if limit is not None and 0 <= limit < ENDLESS:
        yield _fault(it, "delivery-limit", vhost, policy)
    elif limit is None and limits_deliveries(version):
        yield Fault(f"{it.queue}: no delivery-limit is set, so RabbitMQ's own of 20 is", policy)
    elif not rejects:
        # Nothing is lost as it is, but a policy for all queues would apply at once.
        yield Fault(f"{it.queue}: the shipped policy is not in effect", policy, loses=False)


def _value(it: Governed, name: str) -> Any:
    """Return what counts: of two numbers the smaller, where not negative (which is none)."""
    found = [it.effective.get(name), it.arguments.get(f"x-{name}")]
    found = [value for value in found if value is not None]
    numbers = [value for value in found if isinstance(value, int)]
    if len(numbers) == len(found) > 1:
        return min(numbers, key=lambda value: (value < 0, value))
    return found[0] if found else None


def _fault(it: Governed, name: str, vhost: str, policy: str, *, loses: bool = True) -> Fault:
    value = _value(it, name)
    what, vhost = f"{it.queue}: {name} {value}", quote(vhost)
    if it.arguments.get(f"x-{name}") == value:
        remedy = f"rabbitmqctl delete_queue -p {vhost} {quote(it.queue)} --if-empty"
        return Fault(f"{what}, an argument of the queue", remedy, loses=loses)
    if name in it.operators:
        remedy = f"rabbitmqctl clear_operator_policy -p {vhost} {quote(it.operator_policy)}"
        return Fault(f"{what}, by operator policy {it.operator_policy}", remedy, loses=loses)
    return Fault(f"{what}, by policy {it.policy}", policy, loses=loses)


def shipped_policy(topology: Topology, vhost: str, priority: int = PRIORITY) -> str:
    """Return the command that sets the policy of config/rabbitmq/definitions.json."""
    queues = "|".join(
        re.sub(r"\.", r"\\.", queue.removeprefix(f"{topology.namespace}."))
        for queue in (topology.work, topology.dead, topology.anchor)
    )
    pattern = "^" + re.sub(r"\.", r"\\.", topology.namespace) + rf"\.({queues})$"
    return (
        f"rabbitmqctl set_policy -p {quote(vhost)} --apply-to queues --priority {priority} {NAME}"
        f" {quote(pattern)} {quote(json.dumps(SHIPPED))}"
    )
