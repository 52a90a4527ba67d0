"""The model that everything is held against, held against the contract's tables by hand."""

import json
from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from tests.kit.outside.check_assignments import validators
from tests.kit.outside.history import compose, refusals
from tests.kit.outside.mischief import BAD
from tests.kit.outside.oracle import DEFAULT, Expected, foresee
from tests.kit.outside.wire import dressed, payload, plain
from tests.kit.outside.words import ABSENT, Ask, Encryption, Event, Item

P = "p"
XTS = Encryption("aes-xts-plain64", 512)
VOLUME = Item(P, "volume", "v")
SNAPSHOT = Item(P, "snapshot", "s")
REPLICA = Item(P, "replica", "r")
CLONE = Item(P, "volume", "w")
PARTITION = Item(P, "partition", "x")
ROOT = Event(VOLUME, "root", "/m")
SNAP = Event(SNAPSHOT, "snap", "/m", VOLUME)
COPY = Event(CLONE, "copy", "/m", VOLUME)
FAR = Event(REPLICA, "far", "/m", VOLUME, node="n")
PART = Event(REPLICA, "part", "/m", PARTITION, node="n")


def outcome(*events: Event) -> Expected:
    """What becomes of the last event's item."""
    return foresee([events]).assigned[events[-1].item]


def stream(event: Event) -> Event:
    return replace(event, encryption=Ask("aes-ctr-plain64"))


def bare(event: Event) -> Event:
    return replace(event, encryption=None)


def abroad(event: Event) -> Event:
    return replace(event, item=replace(event.item, project="q"))


TABLE: dict[str, tuple[tuple[Event, ...], tuple[str, str, str | None]]] = {
    "blank": ((ROOT,), ("create", "none", None)),
    "image": (
        (replace(ROOT, source=Item(P, "image", "i")),),
        ("create", "encrypt", None),
    ),
    "snapshot": ((ROOT, SNAP), ("reuse", "none", None)),
    "volume-from-volume": ((ROOT, COPY), ("clone", "none", None)),
    "volume-from-snapshot": (
        (ROOT, SNAP, replace(COPY, source=SNAPSHOT)),
        ("clone", "none", None),
    ),
    "volume-from-replica": ((ROOT, FAR, replace(COPY, source=REPLICA)), ("clone", "none", None)),
    "replica": ((ROOT, FAR), ("reuse", "none", None)),
    "replica-block": ((ROOT, replace(FAR, transport="block")), ("reuse", "none", None)),
    "replica-file": ((ROOT, replace(FAR, transport="file")), ("reuse", "none", None)),
    "replica-reencrypt": (
        (ROOT, replace(FAR, transport="reencrypt")),
        ("create", "reencrypt", None),
    ),
    "partition-replica": ((PART,), ("reuse", "none", None)),
    "partition-replica-reencrypt": (
        (replace(PART, transport="reencrypt"),),
        ("reuse", "none", None),
    ),
    "partition-replica-bare": ((bare(PART),), ("none", "none", None)),
    "requested-on-blank": ((replace(ROOT, requested="reuse"),), ("create", "none", None)),
    "requested-on-snapshot": ((ROOT, replace(SNAP, requested="clone")), ("clone", "none", None)),
    "requested-in-vain": ((ROOT, replace(SNAP, requested="create")), ("reuse", "none", None)),
    "shared": ((ROOT, replace(COPY, copy="shared")), ("clone", "none", None)),
    "shared-stream": (
        (stream(ROOT), replace(COPY, copy="shared")), ("clone", "none", "iv-repeats"),
    ),
    "shared-bare": (
        (bare(ROOT), replace(COPY, copy="shared")), ("none", "none", "source-unencrypted"),
    ),
    "block-of-bare-null": (
        (bare(ROOT), replace(bare(FAR), transport="block")), ("none", "none", None),
    ),
    "request-on-clone": ((ROOT, replace(COPY, requested="create")), ("create", "reencrypt", None)),
    "request-on-replica": (
        (ROOT, replace(FAR, requested="reuse", transport="reencrypt")),
        ("reuse", "none", None),
    ),
    "cross-project": (
        (ROOT, abroad(replace(COPY, requested="reuse"))),
        ("create", "reencrypt", "cross-project"),
    ),
    "cross-project-first": (
        (stream(ROOT), abroad(replace(COPY, encryption=Ask("aes-xts-plain64")))),
        ("create", "reencrypt", "cross-project"),
    ),
    "cross-project-bare": ((bare(ROOT), abroad(COPY)), ("create", "encrypt", "cross-project")),
    "encryption-differs": (
        (ROOT, replace(COPY, encryption=Ask("aes-xts-plain64", 256))),
        ("create", "reencrypt", "encryption-differs"),
    ),
    "encryption-same": (
        (ROOT, replace(COPY, encryption=Ask("aes-xts-plain64"))),
        ("clone", "none", None),
    ),
    "stream-snapshot": ((stream(ROOT), SNAP), ("reuse", "none", "iv-repeats")),
    "stream-clone": ((stream(ROOT), COPY), ("create", "reencrypt", "iv-repeats")),
    "stream-replica-block": (
        (stream(ROOT), replace(FAR, transport="block", requested="reuse")),
        ("reuse", "none", "iv-repeats"),
    ),
    "stream-replica-reencrypt": (
        (stream(ROOT), replace(FAR, transport="reencrypt", requested="reuse")),
        ("create", "reencrypt", "iv-repeats"),
    ),
    "stream-differs": (
        (stream(ROOT), replace(COPY, encryption=Ask("aes-xts-plain64"))),
        ("create", "reencrypt", "encryption-differs"),
    ),
    "bare-source": ((bare(ROOT), COPY), ("create", "encrypt", "source-unencrypted")),
    "bare": ((bare(ROOT),), ("none", "none", None)),
    "bare-snapshot": ((bare(ROOT), SNAP), ("none", "none", "source-unencrypted")),
    "bare-source-own-encryption": (
        (bare(ROOT), replace(COPY, encryption=Ask("aes-xts-plain64"), requested="reuse")),
        ("create", "encrypt", "source-unencrypted"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("events", "wanted"), TABLE.values(), ids=TABLE)
def test_the_tables_of_the_policy(
    events: tuple[Event, ...], wanted: tuple[str, str, str | None]
) -> None:
    found = outcome(*events)
    assert (found.disposition, found.data_action, found.guard) == wanted


def test_depths_of_joining() -> None:
    reuse, clone = outcome(ROOT, SNAP), outcome(ROOT, COPY)
    create = outcome(ROOT, replace(COPY, requested="create"))
    assert (reuse.key_owner, reuse.scope_owner) == (VOLUME, VOLUME)
    assert (clone.key_owner, clone.scope_owner, clone.cloned_from) == (CLONE, VOLUME, VOLUME)
    assert (create.key_owner, create.scope_owner, create.reencrypt_from) == (CLONE, CLONE, VOLUME)


@pytest.mark.parametrize(
    ("asked", "source", "wanted"),
    [
        (ABSENT, ABSENT, DEFAULT),
        (Ask("aes-cbc-essiv:sha256"), ABSENT, Encryption("aes-cbc-essiv:sha256", 256)),
        (Ask("aes-xts-plain64"), Ask("aes-xts-plain64", 256), Encryption("aes-xts-plain64", 256)),
        (Ask("aes-xts-plain64"), Ask("aes-cbc-essiv:sha256", 128), XTS),
        (ABSENT, Ask("aes-ctr-plain64", 128), Encryption("aes-ctr-plain64", 128)),
        (ABSENT, None, DEFAULT),
    ],
)
def test_what_an_event_leaves_open(asked: Ask, source: Ask | None, wanted: Encryption) -> None:
    derived = abroad(replace(COPY, encryption=asked))
    assert outcome(replace(ROOT, encryption=source), derived).encryption == wanted


def test_a_partition_comes_along() -> None:
    found = foresee([[PART]]).assigned
    assert found[PARTITION].disposition == "create"
    assert found[PARTITION].source is None
    assert found[PARTITION].node is None
    assert found[REPLICA].key_owner == PARTITION


REFUSED: list[tuple[list[Event], str]] = [
    ([SNAP], "source-missing"),
    ([replace(COPY, source=SNAPSHOT), SNAP], "source-missing"),
    ([replace(ROOT, encryption=Ask("aes-xts-plain64", 384))], "policy-denied"),
    ([replace(ROOT, encryption=Ask("aes-xts-plain64", 384)), SNAP], "source-missing"),
    ([replace(PART, encryption=Ask("aes-xts-plain64", 384))], "policy-denied"),
    ([replace(ROOT, encryption=Ask("AES-XTS-PLAIN64", 512))], "policy-denied"),
    ([ROOT, bare(COPY)], "policy-denied"),
    ([ROOT, abroad(FAR)], "policy-denied"),
    ([ROOT, bare(replace(COPY, copy="shared"))], "conflict"),
    ([ROOT, replace(bare(FAR), transport="block")], "conflict"),
    ([ROOT, replace(FAR, transport="file", encryption=Ask("aes-256-gcm"))], "conflict"),
    ([bare(ROOT), replace(COPY, copy="shared", encryption=Ask("aes-256-gcm"))], "conflict"),
]


@pytest.mark.parametrize(("events", "reason"), REFUSED)
def test_what_is_refused(events: list[Event], reason: str) -> None:
    assert foresee([events]).refused[events[-1]] == reason


def test_conflicts_and_repeats() -> None:
    again = replace(SNAP, event_id="again")
    itself = replace(FAR, source=CLONE, encryption=None, node="m")
    others = [
        replace(again, source=CLONE),
        replace(FAR, event_id="moved", node="m"),
        replace(FAR, event_id="plain", encryption=None),
        replace(FAR, event_id="short", encryption=Ask("aes-xts-plain64", 256)),
        replace(FAR, producer="/n", encryption=Ask("aes-256-gcm")),
    ]
    same = replace(FAR, event_id="same", encryption=Ask("aes-xts-plain64"))
    outlook = foresee([[ROOT, SNAP, FAR], [again, itself, same, *others]])
    assert outlook.refused == dict.fromkeys(others, "conflict")


def test_an_order_that_matters_is_no_history() -> None:
    with pytest.raises(ValueError, match="depends on the order"):
        foresee([[ROOT, SNAP, replace(SNAP, source=CLONE)]])


@pytest.mark.parametrize("seed", range(1, 9))
def test_a_seed_is_a_history(seed: int) -> None:
    assert compose(seed) == compose(seed)


def test_histories_have_everything_in_them() -> None:
    histories = [compose(seed) for seed in (1, 2, 3)]
    assigned = [it for told in histories for it in told.outlook.assigned.values()]
    reasons = Counter(r.reason for told in histories for r, _ in refusals(told).values())
    assert {it.disposition for it in assigned} == {"create", "clone", "reuse", "none"}
    assert {it.guard for it in assigned} == {
        None,
        "cross-project",
        "encryption-differs",
        "iv-repeats",
        "source-unencrypted",
    }
    assert {"malformed", "conflict", "source-missing", "policy-denied"} <= set(reasons)
    assert all(350 <= len(told.sent) <= 450 for told in histories)


def test_dress_changes_no_event() -> None:
    rng = Random(7)
    for event in (replace(ROOT, encryption=Ask("aes-xts-plain64")), SNAP, FAR, PART):
        worn = json.loads(dressed(event, rng).body)
        stripped = {name: worn[name] for name in payload(event)}
        stripped["data"] = {name: worn["data"][name] for name in payload(event)["data"]}
        assert stripped == json.loads(plain(event).body)


def test_bad_input_has_names_of_its_own() -> None:
    assert len({bad.name for bad in BAD}) == len(BAD)
    assert all(bad.make("a1").body == bad.make("a1").body for bad in BAD)


def test_the_schemas_are_schemas() -> None:
    assert validators()
