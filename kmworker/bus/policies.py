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

__all__ = [
    "SHIPPED", "SHIPPED_FOR_AUDIT", "SHIPPED_FOR_REQUESTS", "Fault", "audit_faults", "faults",
    "half_full", "limits_deliveries", "request_faults", "shipped_policy",
]  # fmt: skip

SHIPPED: Final[Mapping[str, Any]] = {"delivery-limit": 1_000_000_000, "overflow": "reject-publish"}
# Whoever delivers keys is refused before the broker's disk is full. docs/audit.md has how long it
# lasts; 2,000,000 records have about as many bytes.
SHIPPED_FOR_AUDIT: Final[Mapping[str, Any]] = {
    **SHIPPED, "max-length": 2_000_000, "max-length-bytes": 1_073_741_824,
}  # fmt: skip
# What nobody has answered in this time is asked again; the oldest is the first to go.
SHIPPED_FOR_REQUESTS: Final[Mapping[str, Any]] = {
    "delivery-limit": 1_000_000_000, "overflow": "drop-head", "max-length": 100_000,
    "message-ttl": 30_000,
}  # fmt: skip
NAME: Final = "kmworker"
AUDIT_NAME: Final = "kmworker-audit"
REQUESTS_NAME: Final = "kmworker-requests"
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
    policy = shipped_policy(topology, vhost, _priority(it, NAME))
    rejects = _value(it, "overflow") == REJECTS
    for name in (*DELETES, *BOUNDS):
        if _value(it, name) is not None:
            yield _fault(it, name, vhost, policy, loses=name in DELETES or not rejects)
    yield from _of_limits(it, version, vhost, policy)


def audit_faults(it: Governed, version: str, topology: Topology, vhost: str) -> Iterator[Fault]:
    """Give what is wrong with the queue of the audit trail: it has bounds, and refuses beyond."""
    policy = _command(
        _pattern(topology, topology.audit), SHIPPED_FOR_AUDIT, AUDIT_NAME, vhost,
        _priority(it, AUDIT_NAME),
    )  # fmt: skip
    for name in DELETES:
        if _value(it, name) is not None:
            yield _fault(it, name, vhost, policy)
    bounds = [name for name in BOUNDS if _value(it, name) is not None]
    if bounds and _value(it, "overflow") != REJECTS:
        yield from (_fault(it, name, vhost, policy) for name in bounds)
    elif not bounds:
        said = f"{it.queue}: nothing bounds it: what nobody reads fills the broker's disk"
        yield Fault(said, policy, loses=False)
    yield from _of_limits(it, version, vhost, policy)


def request_faults(it: Governed, topology: Topology, vhost: str) -> Iterator[Fault]:
    """Give what is wrong with the queue of clients' requests: it has bounds, and drops beyond."""
    policy = _command(
        _pattern(topology, topology.requests), SHIPPED_FOR_REQUESTS, REQUESTS_NAME, vhost,
        _priority(it, REQUESTS_NAME),
    )  # fmt: skip
    if _value(it, "expires") is not None:
        yield _fault(it, "expires", vhost, policy, loses=False)
    if _value(it, "message-ttl") is None:
        said = f"{it.queue}: nothing ends requests that nobody waits for any more"
        yield Fault(said, policy, loses=False)
    if all(_value(it, name) is None for name in BOUNDS):
        said = f"{it.queue}: nothing bounds it: a flood fills the broker's disk"
        yield Fault(said, policy, loses=False)
    elif _value(it, "overflow") == REJECTS:
        said = f"{it.queue}: when it is full, new requests are refused before the oldest are lost"
        yield Fault(said, policy, loses=False)


def half_full(it: Governed) -> str:
    """Say how full a queue is, if it is at least half; empty: it is not."""
    for name, held in (("max-length", it.messages), ("max-length-bytes", it.size_bytes)):
        most = _value(it, name)
        if isinstance(most, int) and most > 0 and held * 2 >= most:
            return f"{held:,} of {name} {most:,}"
    return ""


def _priority(it: Governed, name: str) -> int:
    """Return what stands above whatever is there; one of our name is replaced."""
    return max(PRIORITY, it.priority + (it.policy != name))


def _of_limits(it: Governed, version: str, vhost: str, policy: str) -> Iterator[Fault]:
    """Give what is wrong with how often a message may come back, or that nothing is set."""
    limit = _value(it, "delivery-limit")
    if limit is not None and 0 <= limit < ENDLESS:
        yield _fault(it, "delivery-limit", vhost, policy)
    elif limit is None and limits_deliveries(version):
        yield Fault(f"{it.queue}: no delivery-limit is set, so RabbitMQ's own of 20 is", policy)
    elif _value(it, "overflow") != REJECTS:
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
    pattern = _pattern(topology, topology.work, topology.dead, topology.anchor)
    return _command(pattern, SHIPPED, NAME, vhost, priority)


def _pattern(topology: Topology, *queues: str) -> str:
    names = [re.sub(r"\.", r"\\.", it.removeprefix(f"{topology.namespace}.")) for it in queues]
    either = f"({'|'.join(names)})" if len(names) > 1 else names[0]
    return "^" + re.sub(r"\.", r"\\.", topology.namespace) + rf"\.{either}$"


def _command(
    pattern: str, definition: Mapping[str, Any], name: str, vhost: str, priority: int
) -> str:
    return (
        f"rabbitmqctl set_policy -p {quote(vhost)} --apply-to queues --priority {priority} {name}"
        f" {quote(pattern)} {quote(json.dumps(dict(definition)))}"
    )
