"""A store filled by the worker's own reading, planning and scripts, and an audit of it."""

from collections.abc import Iterable
from typing import Any
from uuid import uuid4

from kmworker.clock import rfc3339
from kmworker.domain.event import Event
from kmworker.domain.look_up import items_to_look_up
from kmworker.domain.message import Original
from kmworker.domain.plan import Arrival, Fresh
from kmworker.domain.planner import plan_batch
from kmworker.errors import Reason
from kmworker.ports import QueueCounts, Report
from kmworker.store.names import Names
from kmworker.store.redis_store import RedisStore
from kmworker.verify.repair import Repairer
from kmworker.verify.rules.findings import Finding
from kmworker.verify.scan.position import Position
from kmworker.verify.scan.verification import Audit
from kmworker.wire.events.reading import parse
from tests.kit.builders import SHIPPED
from tests.kit.outside.wire import said
from tests.kit.store.stand import DEADLINE_S, Stand

Brief = tuple[str, str, str, str]
"""A finding's problem and place."""

SHARED = "swift.eu-1"


def volume(name: str, project: str = "p1", source: Any = None, **data: Any) -> Arrival:
    """The event of a new volume."""
    kind, _, identifier = (source or "").partition(":")
    named = {"source": {"kind": kind, "id": identifier}} if source else {}
    if source and project != "p1":
        named["source"]["project_id"] = "p1"
    return _arrival("volume-created", project, volume_id=name, **named, **data)


def snapshot(name: str, of: str, project: str = "p1") -> Arrival:
    """The event of a new snapshot."""
    return _arrival("snapshot-taken", project, snapshot_id=name, volume_id=of)


def replica(name: str, partition: str) -> Arrival:
    """The event of a new replica of a Swift partition."""
    source = {"kind": "partition", "id": partition}
    return _arrival("replica-added", SHARED, replica_id=name, source=source, node="obj-1")


def volumes(names: Iterable[str], project: str = "p1") -> list[Arrival]:
    """The events of blank volumes."""
    return [volume(name, project) for name in names]


def handle(stand: Stand, *arrivals: Arrival, store: RedisStore | None = None) -> None:
    """Do with events what a worker does, one batch."""
    store = store or stand.store()
    fresh = Fresh(rfc3339(stand.clock.now()), lambda: str(uuid4()), stand.custody.kek_id)
    known = store.look_up(items_to_look_up(arrival.event for arrival in arrivals)).result()
    store.commit(plan_batch(arrivals, known, SHIPPED, fresh).writes).result()


def fill(stand: Stand) -> None:
    """Leave behind what workers leave: every disposition, three projects, waiting events."""
    stand.store().admit()
    handle(stand, volume("v1"), snapshot("s1", "v1"), volume("v2", source="snapshot:s1"))
    handle(
        stand,
        volume("v3", source="snapshot:s1", disposition="create"),
        volume("v4", source="image:debian"),
        volume("bare", encryption=None),
        snapshot("bare-s", "bare"),
        volume("own", source="volume:bare", encryption={"cipher": "aes-xts-plain64"}),
        volume("small", encryption={"cipher": "aes-xts-plain64", "key_bits": 256}),
        volume("other", source="volume:v1", encryption={"cipher": "aes-cbc-essiv:sha256"}),
    )
    handle(stand, replica("4711@1", "4711"), replica("4711@2", "4711"))
    handle(stand, volume("abroad", "p2", source="snapshot:s1"), volume("v1", "p2"))
    handle(stand, snapshot("early", "late"), volume("earlier", source="snapshot:early"))
    handle(stand, volume("lost", source="volume:nowhere"))
    # Of one the time is up, and it is marked; one has been tried.
    stand.clock.sleep(DEADLINE_S)
    stand.store().sweep("p1", 1, "")
    handle(stand, volume("hoping", source="volume:nowhere"))
    reports = stand.reports()
    reports.write(_report(stand)).result()
    while not stand.raw.exists(stand.top("totals")):
        reports.count_if_due(stand.clock.now())
    # It runs out by itself, perhaps between two looks of a test.
    stand.raw.delete(stand.top("lease:totals"))


def audit_of(stand: Stand, project: str | None = None, client: Any = None) -> Audit:
    """Return an audit, as the command makes it."""
    return Audit(
        client or stand.client("key-operator"),
        Names(stand.prefix),
        stand.custody,
        clock=stand.clock,
        waits_s=DEADLINE_S,
        project=project,
    )


def found_in(
    stand: Stand, project: str | None = None, start: Position | None = None
) -> list[Finding]:
    """Check the whole store."""
    audit = audit_of(stand, project)
    audit.begin(start)
    return [finding for _looked_at, findings in audit.steps() for finding in findings]


def repaired(stand: Stand) -> tuple[list[Finding], set[Finding]]:
    """Check the whole store and repair it as the command does; what was found and repaired."""
    client = stand.client("repairer")
    audit, repairer = audit_of(stand, client=client), Repairer(client, Names(stand.prefix))
    audit.begin()
    everything: list[Finding] = []
    done: set[Finding] = set()
    for _looked_at, findings in audit.steps():
        everything += findings
        done |= repairer.repair(findings)
    return everything, done


def brief(findings: Iterable[Finding]) -> list[Brief]:
    """Return problem and place of each, sorted."""
    return sorted((finding.problem.value, *finding.place) for finding in findings)


def _arrival(kind: str, project: str, **data: Any) -> Arrival:
    body = said(kind, str(uuid4()), project, **data).body
    read = parse(body, "application/json", kind)
    assert isinstance(read, Event), read
    return Arrival(read, Original(body, kind, {"content_type": "application/json"}))


def _report(stand: Stand) -> Report:
    stand.store().count_dead([Reason.MALFORMED])
    return Report("w1", stand.clock.now(), {"pid": 1}, [], None, QueueCounts(0, 0, 1))
