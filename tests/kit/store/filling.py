"""A store filled by the worker's own reading, planning and scripts, and an audit of it."""

from collections.abc import Iterable
from typing import Any
from uuid import uuid4

from kmworker.clock import rfc3339
from kmworker.domain.event import UNENCRYPTED, Event
from kmworker.domain.keys import Operator
from kmworker.domain.lifecycle import Step, compromise, compromised, step
from kmworker.domain.look_up import items_to_look_up
from kmworker.domain.message import Original
from kmworker.domain.model import Disposition, Item, KeyRecord, held_in
from kmworker.domain.plan import Arrival, Fresh
from kmworker.domain.planner import plan_batch
from kmworker.domain.retention import Change, KeySeen, Moment
from kmworker.errors import Reason
from kmworker.janitor.project import PassResult, ProjectPass
from kmworker.ports import QueueCounts, Report
from kmworker.store.key_states import KeyStates, ScopeChange, holders_of
from kmworker.store.names import Names
from kmworker.store.records import RecordCodec
from kmworker.store.redis_store import RedisStore
from kmworker.store.retention import RedisRetention
from kmworker.verify.repair import Repairer
from kmworker.verify.rules.findings import Finding
from kmworker.verify.scan.position import Position
from kmworker.verify.scan.verification import Audit
from kmworker.wire.events.reading import parse
from tests.kit import builders
from tests.kit.builders import SHIPPED, event_of, release_of
from tests.kit.outside.wire import said
from tests.kit.store.playing import DAYS_30_S, play
from tests.kit.store.stand import DEADLINE_S, Stand

Brief = tuple[str, str, str, str]
"""A finding's problem and place."""

SHARED = "swift.eu-1"
LIVES = "p3"
"""The project in which keys have come to each state."""
ALICE = Operator("alice", "a drill")


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
    """Leave behind what workers leave: dispositions, keys' states, waiting events."""
    stand.store().admit()
    live(stand)
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


# --- keys' lives ------------------------------------------------------------------------


def of_life(name: str, kind: str = "volume") -> Item:
    """Return an item of `LIVES`, a volume or a snapshot."""
    made: Item = getattr(builders, kind)(name, LIVES)
    return made


def live(stand: Stand) -> None:
    """Let keys come to each state, and what is gone be forgotten; a pair of months goes by."""
    _forget(stand)
    held, shared = of_life("held"), of_life("shared", "snapshot")
    left, back, halted = of_life("left"), of_life("back"), of_life("halted")
    leaked, copy = of_life("leaked"), of_life("leaked-copy")
    plain, unknown, again = of_life("plain"), of_life("unknown"), of_life("again")
    stem, bud = of_life("stem"), of_life("bud", "snapshot")
    play(
        stand, event_of(held), event_of(shared, held), event_of(left), event_of(back),
        event_of(halted), event_of(leaked), event_of(copy, leaked, requested=Disposition.CLONE),
        event_of(plain, encryption=UNENCRYPTED), release_of(unknown), release_of(again),
        event_of(stem), event_of(bud, stem), event_of(of_life("twig"), bud),
    )  # fmt: skip
    change_key(stand, halted, Step.SUSPEND)
    play(
        stand, *map(release_of, (shared, left, back, halted, plain)), event_of(again, generation=1)
    )
    change_key(stand, back, Step.RESTORE)
    _compromise(stand, leaked, copy)
    play(stand, release_of(copy))


def _forget(stand: Stand) -> None:
    """Leave behind what is destroyed, and what derives from what is forgotten."""
    own = Disposition.CREATE
    first, copy, anew, other = map(of_life, ("first", "first-copy", "anew", "anew-copy"))
    plain, plain_copy = of_life("former-plain"), of_life("plain-copy")
    root, still = of_life("root"), of_life("still", "snapshot")
    part, part_s, part_t = of_life("part"), of_life("part", "snapshot"), of_life("awaited")
    play(
        stand, *map(event_of, (first, anew, root, part)), event_of(plain, encryption=UNENCRYPTED),
        event_of(copy, first, requested=own), event_of(other, anew, requested=own),
        event_of(plain_copy, plain), event_of(still, root), event_of(part_s, part),
        event_of(part_t, part_s),
    )  # fmt: skip
    play(stand, *map(release_of, (first, anew, plain, part, part_s, part_t)))
    play(stand, event_of(root, generation=1))
    play(stand, release_of(root, 1))
    after_30_days(stand)
    tidy(stand)
    ended, shared, clone = of_life("ended"), of_life("ended", "snapshot"), of_life("ended-copy")
    partly, rest = of_life("partly"), of_life("rest")
    play(
        stand, event_of(ended), event_of(shared, ended), event_of(partly),
        event_of(clone, ended, requested=Disposition.CLONE),
        event_of(rest, partly, requested=Disposition.CLONE),
    )  # fmt: skip
    play(stand, *map(release_of, (ended, shared, clone, partly)))
    waits = {"snapshot_id": "waits", "volume_id": part_t.id, "source_generation": 7}
    handle(stand, _arrival("snapshot-taken", LIVES, **waits))
    after_30_days(stand)
    assert tidy(stand).forgotten
    play(stand, event_of(anew, event_id="anew"))


def after_30_days(stand: Stand) -> None:
    """Let what is due have come."""
    stand.clock.sleep(DAYS_30_S + 1)


def tidy(stand: Stand, project: str = LIVES) -> PassResult:
    """Let a janitor go over a project once."""
    now = stand.clock.now()
    found = RedisRetention(stand.views("janitor"), RecordCodec(stand.custody))
    moment = Moment(rfc3339(now), rfc3339(now + DAYS_30_S))
    return ProjectPass(
        found, project, moment, now_s=now, tombstone_s=DAYS_30_S, may_destroy=True,
        on_page=lambda _size: None,
    ).run()  # fmt: skip


def change_key(stand: Stand, item: Item, what: Step) -> None:
    """Do what a person does to an item's key-id."""
    states, seen = _seen(stand, item)
    now = stand.clock.now()
    after = step(
        seen.key, seen.scope, what, by=ALICE, at=rfc3339(now), destroy_at=rfc3339(now + DAYS_30_S),
        holders=holders_of(seen), active_until=rfc3339(now + DAYS_30_S),
    )  # fmt: skip
    assert isinstance(after, KeyRecord), after
    assert states.change(item.project, [Change(seen, after)]) == [True]


def _compromise(stand: Stand, item: Item, other: Item) -> None:
    states, seen = _seen(stand, item)
    marked: Any = compromise(seen.scope, ALICE, rfc3339(stand.clock.now()))
    changes: list[Any] = [ScopeChange(seen.scope, seen.scope_record, marked)]
    for each in (seen, _seen(stand, other)[1]):
        after = compromised(each.key, marked)
        assert after is not None
        changes.append(Change(each, after))
    assert all(states.change(item.project, changes))


def _seen(stand: Stand, item: Item) -> tuple[KeyStates, KeySeen]:
    states = KeyStates(stand.views("key-operator"), RecordCodec(stand.custody))
    held = held_in(stand.look_up(item)[item])
    assert held is not None
    assert held.key is not None
    return states, states.read(item.project, [held.key.key_id])[held.key.key_id]


# --- checking ---------------------------------------------------------------------------


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
