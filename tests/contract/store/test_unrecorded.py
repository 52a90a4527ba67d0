"""What is to be in the audit trail: left in the store with what it is about, until it is there."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

import pytest

from kmworker.crypto import KeyringCustody
from kmworker.delegation.clients import Right, Rights, Stamp, enrolled, revoked
from kmworker.delegation.identity import PublicIdentity
from kmworker.delegation.trust_list import HandedOut
from kmworker.domain.audit import (
    Act,
    Actor,
    ActorKind,
    AuditRecord,
    KeptRecord,
    Unsaid,
    records_of_grants,
)
from kmworker.domain.grants import GrantsChanged
from kmworker.domain.keks import KekStep
from kmworker.domain.keys import Operator
from kmworker.domain.lifecycle import NoStep
from kmworker.domain.model import Kind
from kmworker.ports import Answered
from kmworker.store.admission import enter
from kmworker.store.client_register import ClientRegister, record_of_list
from kmworker.store.kek_register import KekRegister
from kmworker.store.records import RecordCodec
from kmworker.store.rewrapping import Rewrapping
from kmworker.store.unrecorded import PAGE_SIZE
from kmworker.worker.recorded import RecordedFirst
from tests.kit.builders import NOW, attach, detach, event_of, release_of
from tests.kit.store.builders import (
    BOTH_KEYRINGS,
    CUSTODY,
    INSTALLATION,
    NEWER_CUSTODY,
    OTHER_CUSTODY,
    volume,
)
from tests.kit.store.filling import brief, found_in
from tests.kit.store.playing import play
from tests.kit.store.stand import Stand

V = volume("v1")
FIRST, OTHER = CUSTODY.kek_id, OTHER_CUSTODY.kek_id
ALICE = Operator("alice", "a drill")
WHO = Actor(ActorKind.OPERATOR, "alice", "root", "ops1")
HOUR_S = 3600


@pytest.fixture(autouse=True)
def recording(stand: Stand) -> None:
    """A worker was there, of an installation that has an audit trail."""
    stand.first = stand.store(records=True)
    stand.first.admit()


def unsaid(stand: Stand) -> list[Unsaid]:
    """Return what a worker finds that looks an hour later."""
    stand.clock.sleep(HOUR_S)
    return stand.first.unsaid()


def grants(stand: Stand) -> list[GrantsChanged]:
    return [it for it in unsaid(stand) if isinstance(it, GrantsChanged)]


def acts(stand: Stand) -> list[tuple[str, str, str | None, str | None]]:
    """Return what is to be recorded of grants: what, of which, where, because of what."""
    found = [record for it in grants(stand) for record in records_of_grants(it)]
    return sorted((it.what, it.attachment_id or "", it.node, it.event) for it in found)


# --- grants -----------------------------------------------------------------------------


def test_an_attachment_is_to_be_recorded_until_it_is(stand: Stand) -> None:
    play(stand, event_of(V), attach())
    (changed,) = grants(stand)
    (record,) = records_of_grants(changed)
    assert (record.what, record.item, record.attachment_id, record.node) == (
        Act.GRANT_MADE, V.ref, "a1", "n1",
    )  # fmt: skip
    assert (record.who, record.event) == (Actor(ActorKind.PRODUCER, "/nova"), "on-a1")
    assert grants(stand) == [changed]
    assert found_in(stand) == []
    stand.first.said([changed])
    assert unsaid(stand) == []
    assert not stand.raw.exists(stand.key("p1", "unrecorded"), stand.top("outboxes"))


def test_all_that_a_batch_makes_and_ends_is_to_be_recorded(stand: Stand) -> None:
    play(stand, event_of(V), attach("a1"), attach("a2", "n2"), detach("early"))
    play(stand, detach("a1"), attach("a3"), detach("a3"))
    assert acts(stand) == [
        ("grant-ended", "a1", "n1", "off-a1"),
        ("grant-ended", "a3", "n1", "off-a3"),
        ("grant-ended", "early", None, "off-early"),
        ("grant-made", "a1", "n1", "on-a1"),
        ("grant-made", "a2", "n2", "on-a2"),
        ("grant-made", "a3", "n1", "on-a3"),
    ]


def test_what_is_not_authentic_hides_nothing_that_is(stand: Stand) -> None:
    play(stand, event_of(V), attach())
    (changed,) = grants(stand)
    strange = {f"{V.ref} {number:04}": "none" for number in range(3 * PAGE_SIZE)}
    stand.raw.hset(stand.key("p1", "unrecorded"), mapping=strange)
    seen = Counter(it for _ in range(8) for it in grants(stand))
    # In each round of four looks.
    assert seen[changed] >= 2


def test_what_changes_no_grant_is_not_to_be_recorded(stand: Stand) -> None:
    play(stand, event_of(V), attach())
    stand.first.said(unsaid(stand))
    play(stand, attach(), attach())
    assert unsaid(stand) == []


def test_a_release_ends_what_is_attached_still(stand: Stand) -> None:
    play(stand, event_of(V), attach("a1"), attach("a2", "n2"))
    play(stand, detach("a2"))
    stand.first.said(unsaid(stand))
    play(stand, release_of(V))
    assert acts(stand) == [("grant-ended", "a1", "n1", "end-of-v1")]


def test_a_release_of_what_was_never_attached_ends_nothing(stand: Stand) -> None:
    play(stand, event_of(V))
    play(stand, release_of(V))
    assert grants(stand) == []
    assert not stand.raw.exists(stand.key("p1", "unrecorded"))


def test_an_installation_without_a_trail_keeps_nothing_for_it(stand: Stand) -> None:
    stand.first = stand.store()
    stand.first.admit()
    play(stand, event_of(V), attach())
    play(stand, detach(), release_of(V))
    assert not stand.raw.exists(stand.key("p1", "unrecorded"))


def test_what_was_not_written_is_not_to_be_recorded(stand: Stand) -> None:
    play(stand, event_of(V), attach())
    before = stand.value(stand.key("p1", "unrecorded"))
    play(stand, attach("a1", "elsewhere"))
    assert stand.value(stand.key("p1", "unrecorded")) == before


def test_what_nobody_can_have_left_there_is_not_recorded(stand: Stand) -> None:
    play(stand, event_of(V), attach())
    key = stand.key("p1", "unrecorded")
    ((name, record),) = stand.value(key).items()
    stand.raw.hset(key, mapping={
        name: record.replace(b'"n1"', b'"n2"'),
        b"volume:v1 7": record,
        b"volume:other 1": record,
        b"volume:v1 released 0": record,
        b"volume:v1 released x": record,
        b"\xff": b"",
    })  # fmt: skip
    assert unsaid(stand) == []
    # It stays for a person to see.
    assert stand.raw.hlen(key) == 6
    assert {it[:3] for it in brief(found_in(stand))} == {("seal-broken", "p1", "unrecorded")}
    assert len(found_in(stand)) == 6


def test_more_than_is_read_at_once_is_found_as_soon_as_there_is_room(stand: Stand) -> None:
    play(stand, event_of(V))
    for number in range(PAGE_SIZE + 100):
        play(stand, attach(f"a{number}") if number % 2 == 0 else detach(f"a{number - 1}"))
    found: list[Unsaid] = []
    stand.clock.sleep(HOUR_S)
    while changes := stand.first.unsaid():
        found += changes
        stand.first.said(changes)
    assert len(found) == PAGE_SIZE + 100


def test_what_the_index_lacks_is_found(stand: Stand) -> None:
    play(stand, event_of(V), attach())
    stand.raw.delete(stand.top("outboxes"))
    reports = stand.reports()
    for _ in range(9):
        reports.count_if_due(stand.clock.now())
        stand.clock.sleep(9)
    assert len(grants(stand)) == 1


class DiesError(Exception):
    """A worker's end, wherever it is."""


class DyingTrail:
    """An audit trail that takes what it is given; its writer ends before or after."""

    writer = "worker@h/1"

    def __init__(self) -> None:
        self.events: list[str | None] = []
        self.dies = ""

    def open(self) -> None:
        """It needs no connection."""

    def record(self, records: Sequence[AuditRecord]) -> Answered[None]:
        if self.dies == "before it is recorded":
            raise DiesError
        self.events += [it.event for it in records]
        if self.dies == "before it is taken out":
            raise DiesError
        return Answered(None)

    def tick(self) -> None:
        """Nothing is open."""

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize("dies", ["before it is recorded", "before it is taken out", "nowhere"])
def test_wherever_a_worker_ends_another_records_what_it_has_not(stand: Stand, dies: str) -> None:
    play(stand, event_of(V), attach("a1"), attach("a2"))
    enroll(stand)
    trail = DyingTrail()
    recorded = RecordedFirst(stand.first, stand.clock, trail)
    trail.dies = dies
    with suppress(DiesError):
        recorded.said(unsaid(stand), "/kmworker")
    trail.dies = ""
    other = stand.store(worker_id="another", records=True)
    other.admit()
    stand.clock.sleep(HOUR_S)
    RecordedFirst(other, stand.clock, trail).said(other.unsaid(), "/kmworker")
    # Each is there, and twice only where nobody can know; one that is has the same event.
    times = 2 if dies == "before it is taken out" else 1
    assert set(Counter(trail.events).values()) == {times}
    assert len(set(trail.events)) == 3
    assert unsaid(stand) == []


@pytest.mark.parametrize("backend", ["redis", "valkey"], indirect=True)
@pytest.mark.parametrize("lacks", ["hscan", "hdel"])
def test_rights_that_a_former_release_did_not_need_keep_no_key_from_being_announced(
    stand: Stand, lacks: str
) -> None:
    play(stand, event_of(V), attach())
    play(stand, release_of(V))
    rights = f"~* +@all -{lacks} (~{{0}}:{{{{*}}}}:outbox +{lacks})"
    held = stand.store(stand.client_with(rights), records=True)
    stand.clock.sleep(HOUR_S)
    for _ in range(2):
        held.said(held.unsaid())
    assert not stand.raw.exists(stand.key("p1", "outbox"))
    # Nothing of it is lost.
    assert len(grants(stand)) == 2


def test_a_key_of_another_type_keeps_nothing_else_from_being_found(stand: Stand) -> None:
    play(stand, event_of(V), attach())
    stand.spoil(stand.top("unrecorded"))
    assert len(grants(stand)) == 1
    stand.raw.delete(stand.top("unrecorded"))
    enroll(stand)
    stand.spoil(stand.key("p1", "unrecorded"))
    assert len(unsaid(stand)) == 1


# --- what operators do ------------------------------------------------------------------


def kept(stand: Stand) -> dict[str, AuditRecord]:
    return {it.name: it.record for it in unsaid(stand) if isinstance(it, KeptRecord)}


def both_keks() -> KeyringCustody:
    return KeyringCustody(BOTH_KEYRINGS, INSTALLATION)


def register(stand: Stand) -> ClientRegister:
    return ClientRegister(stand.views("key-operator"), RecordCodec(CUSTODY))


def record(what: Act, name: str = "c1") -> AuditRecord:
    return AuditRecord(what, WHO, NOW, reason="a drill", client=name)


def enroll(stand: Stand, name: str = "c1") -> None:
    rights = Rights(frozenset([Right.GET]), frozenset([Kind.VOLUME]), ("*",), ("n1",))
    identity, stamp = PublicIdentity(b"s", b"k"), Stamp(NOW, ALICE)
    made = register(stand).change(
        name,
        lambda before: enrolled(before, name, identity, rights, stamp),
        record(Act.CLIENT_ENROLLED, name),
    )
    assert not isinstance(made, NoStep)


def test_each_change_of_a_client_is_to_be_recorded_until_it_is(stand: Stand) -> None:
    enroll(stand)
    made = register(stand).change(
        "c1",
        lambda before: NoStep("") if before is None else revoked(before, Stamp(NOW, ALICE)),
        record(Act.CLIENT_REVOKED),
    )
    assert not isinstance(made, NoStep)
    found = kept(stand)
    assert found == {
        "client-enrolled c1 1": record(Act.CLIENT_ENROLLED),
        "client-revoked c1 2": record(Act.CLIENT_REVOKED),
    }
    stand.first.said([KeptRecord(*it) for it in found.items()])
    assert kept(stand) == {}


def test_what_operators_did_is_found_behind_what_is_not_authentic(stand: Stand) -> None:
    enroll(stand)
    strange = {f"strange {number}": "none" for number in range(3 * PAGE_SIZE)}
    stand.raw.hset(stand.top("unrecorded"), mapping=strange)
    seen = Counter(name for _ in range(8) for name in kept(stand))
    assert seen["client-enrolled c1 1"] >= 2


def test_what_is_refused_is_not_to_be_recorded(stand: Stand) -> None:
    refused = register(stand).change("c1", lambda _: NoStep("no"), record(Act.CLIENT_REVOKED))
    assert isinstance(refused, NoStep)
    assert kept(stand) == {}


def test_a_trust_list_that_is_handed_out_is_to_be_recorded(stand: Stand) -> None:
    said = record_of_list(7, NOW, WHO, NOW)
    assert register(stand).hand_out(HandedOut("root", "text", "signature"), 7, said)
    assert list(kept(stand).values()) == [said]


@pytest.mark.parametrize(
    ("steps", "what"),
    [
        ([KekStep.ADD], Act.KEK_ADDED),
        ([KekStep.ADD, KekStep.ACTIVATE], Act.KEK_ACTIVATED),
        ([KekStep.ADD, KekStep.COMPROMISE], Act.KEK_COMPROMISED),
        ([KekStep.ADD, KekStep.RETIRE], Act.KEK_RETIRED),
        ([KekStep.ADD, KekStep.RETIRE, KekStep.REMOVE], Act.KEK_REMOVED),
    ],
    ids=lambda it: it if isinstance(it, str) else "",
)
def test_each_step_of_a_kek_is_to_be_recorded(
    stand: Stand, steps: list[KekStep], what: Act
) -> None:
    operators = KekRegister(stand.views("key-operator"), both_keks())
    for step in steps:
        assert not isinstance(operators.step(OTHER, step, ALICE, WHO), NoStep)
    found = list(kept(stand).values())
    assert {it.what for it in found} >= {what}
    assert len(found) == len(steps)
    assert all((it.who, it.reason, it.kek_id) == (WHO, "a drill", OTHER) for it in found)


def test_a_step_that_is_refused_is_not_to_be_recorded(stand: Stand) -> None:
    operators = KekRegister(stand.views("key-operator"), both_keks())
    assert isinstance(operators.step(OTHER, KekStep.RETIRE, ALICE), NoStep)
    assert kept(stand) == {}


def test_what_no_operator_has_left_there_is_not_recorded(stand: Stand) -> None:
    enroll(stand)
    key = stand.top("unrecorded")
    ((name, sealed),) = stand.value(key).items()
    stand.raw.hset(key, mapping={
        name: sealed.replace(b"alice", b"mallo"), b"client-enrolled c2 1": sealed, b"x": b"",
    })  # fmt: skip
    assert kept(stand) == {}
    assert stand.raw.hlen(key) == 3


def test_rewrapping_takes_it_along(stand: Stand) -> None:
    play(stand, event_of(V), attach())
    enroll(stand)
    before = unsaid(stand)
    stand.register(OTHER_CUSTODY)
    stand.step_kek(OTHER, KekStep.ACTIVATE)
    ours, views = both_keks(), stand.views("rewrapper")
    enter(ours, views)
    run = Rewrapping(views, ours)
    for project in run.projects():
        for page in run.rewrap(project):
            assert page.flaws == []
    run.finish()
    kept_records = [
        raw
        for key in (stand.key("p1", "unrecorded"), stand.top("unrecorded"))
        for raw in stand.value(key).values()
    ]
    assert len(kept_records) == 4
    assert all(f',"seal":"v2.{OTHER}.'.encode() in raw for raw in kept_records)
    assert not any(it for project in run.projects() for it in run.references(project, FIRST))
    assert run.references_of_no_project(FIRST) == []
    stand.first = stand.store(custody=NEWER_CUSTODY, records=True)
    stand.first.admit()
    found = [it for it in unsaid(stand) if not isinstance(it, KeptRecord) or "kek" not in it.name]
    assert found == before
