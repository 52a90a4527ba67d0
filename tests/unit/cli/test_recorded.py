"""What commands do is in the audit trail: that it begins, before it does, and what it came to."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from kmworker.crypto import Keyring
from kmworker.crypto.keyring_archive import archive_kek
from kmworker.domain.audit import ActOutcome, AuditRecord
from kmworker.errors import NotRecorded
from kmworker.worker.rollback import Anchored
from tests.kit.builders import event_of, snapshot, volume
from tests.kit.cli.stand import Broker, FilledStore, Trail, failed, run
from tests.kit.trails import lay_trail

ROOTED = "file:?passphrase-file="


def refuse(_record: AuditRecord) -> None:
    raise NotRecorded("its queue is full")


def refuse_ends(record: AuditRecord) -> None:
    if record.outcome is not ActOutcome.BEGUN:
        refuse(record)


def rooted(folder: Path) -> str:
    (folder / "passphrase").write_text("a passphrase of many words")
    (folder / "passphrase").chmod(0o600)
    return f"{ROOTED}{folder / 'passphrase'}"


def waiting(store: FilledStore) -> None:
    store.assign(event_of(snapshot("s9"), volume("gone")))


def inventory(folder: Path) -> None:
    (folder / "there.txt").write_text("p1 volume:v1\np1 snapshot:s1\np1 volume:v2\np1 volume:v3\n")


# What is run, what is recorded of it, and of how many things.
COMMANDS: dict[str, tuple[tuple[str, ...], str, int | None]] = {
    "rewrap": (("rewrap",), "rewrapped", 0),
    "waiting expire": (
        ("waiting", "expire", "--project", "p1", "snapshot:s9"), "waiting-expired", 1,
    ),
    "announce": (("announce", "--project", "p1"), "announced-again", 4),
    "verify --repair": (("verify", "--repair"), "store-repaired", 1),
    "reconcile": (("reconcile", "--inventory", "there.txt"), "reconciled", 1),
    "keyring move": (("keyring", "move", "--to", "ROOTED"), "keyring-moved", None),
    "audit export": (("audit", "export", "--output", "out.jsonl"), "audit-exported", 5),
}  # fmt: skip

# It finds the event that waits, too, whose time was over long ago.
OVERDUE = {"verify --repair": 1}


@pytest.fixture
def prepared(filled: FilledStore, broker: Broker, folder: Path) -> FilledStore:
    """Something to do for each of these."""
    waiting(filled)
    inventory(folder)
    lay_trail(folder / "audit")
    filled.client.hset("km:{p1}:holders", filled.key_id(volume("v1")), 7)
    return filled


def words_of(name: str, folder: Path) -> list[str]:
    words, _what, _count = COMMANDS[name]
    return [rooted(folder) if it == "ROOTED" else it for it in words]


@pytest.mark.parametrize("name", COMMANDS)
def test_that_it_begins_is_recorded_first_and_what_it_came_to_last(
    prepared: FilledStore, trail: Trail, folder: Path, name: str
) -> None:
    result = run(*words_of(name, folder))
    assert result.exit_code == OVERDUE.get(name, 0), result.stderr
    _words, what, count = COMMANDS[name]
    assert trail.told == [(what, "begun", None), (what, "done", count)]
    # So that no heartbeat is missed meanwhile.
    assert trail.closed >= 2
    assert {it.who.os_user for it in trail.records} != {None}


@pytest.mark.parametrize("name", COMMANDS)
def test_what_cannot_be_recorded_is_not_begun(
    prepared: FilledStore, trail: Trail, broker: Broker, folder: Path, name: str
) -> None:
    trail.before = refuse
    words = words_of(name, folder)
    before = _state(prepared, folder)
    err = failed(3, *words)
    assert err.startswith("kmworker: nothing was done: its queue is full\n")
    assert _state(prepared, folder) == before
    assert broker.published == []


@pytest.mark.parametrize("name", COMMANDS)
def test_an_installation_without_a_trail_records_nothing(
    prepared: FilledStore, trail: Trail, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv("KMWORKER_AUDIT__RECORDS")
    assert run(*words_of(name, folder)).exit_code == OVERDUE.get(name, 0)
    assert trail.records == []


def test_an_end_that_cannot_be_recorded_is_told_in_one_line(
    prepared: FilledStore, trail: Trail
) -> None:
    trail.before = refuse_ends
    result = run("rewrap")
    assert result.exit_code == 0
    told = "its end is not in the audit trail, which has its beginning: its queue is full"
    assert result.stderr.splitlines().count(f"kmworker: {told}") == 1


def test_what_fails_half_way_is_recorded_as_that(
    filled: FilledStore, trail: Trail, broker: Broker
) -> None:
    def stop(_batches: int) -> None:
        raise KeyboardInterrupt

    broker.before_batch = stop
    assert run("announce", "--project", "p1").exit_code == 130
    assert trail.told == [("announced-again", "begun", None), ("announced-again", "failed", None)]


def test_a_kek_that_is_restored_is_recorded(trail: Trail, folder: Path) -> None:
    kek_id = run("keyring", "init").stdout.strip()
    Keyring.grow(folder / "keyring.json")
    archive_kek(folder / "keyring.json", folder / "keyring.archive.json", kek_id)
    trail.before = refuse
    failed(3, "keyring", "restore", kek_id)
    assert kek_id not in run("keyring", "status").stdout
    trail.before = lambda _record: None
    assert run("keyring", "restore", kek_id).exit_code == 0
    assert trail.told == [("kek-restored", "begun", None), ("kek-restored", "done", None)]
    assert {it.kek_id for it in trail.records} == {kek_id}


def test_a_store_that_is_accepted_is_recorded_with_its_incident(
    trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted: list[str] = []

    def accept(incident: str, _anchored: int) -> int:
        accepted.append(incident)
        return 7

    parts = SimpleNamespace(store=SimpleNamespace(accept=accept))
    anchor = nullcontext(SimpleNamespace(newest=lambda: Anchored(3)))
    monkeypatch.setattr("kmworker.cli.accept.open_store", lambda *_: parts)
    monkeypatch.setattr("kmworker.cli.accept.open_anchor", lambda *_: anchor)
    trail.before = refuse
    failed(3, "accept", "3f2a9c1b")
    assert accepted == []
    trail.before = lambda _record: None
    assert run("accept", "3f2a9c1b").exit_code == 0
    assert trail.told == [("store-accepted", "begun", None), ("store-accepted", "done", None)]
    assert {it.reason for it in trail.records} == {"incident 3f2a9c1b"}


class Migrating:
    """A migration of three records, or one that has nothing to do."""

    number, size = 3, 3

    def __init__(self, *, is_done: bool) -> None:
        self.is_done = is_done
        self.carried = 0

    def begin(self) -> None:
        """Look at it."""

    def steps(self) -> Iterator[SimpleNamespace]:
        for _ in range(3):
            self.carried += 1
            yield SimpleNamespace(carried=1, flaws=(), looked_at=1)

    def finish(self) -> None:
        """It has come to its end."""


@pytest.mark.parametrize("is_done", [False, True])
def test_a_migration_is_recorded_if_there_is_something_to_carry_over(
    filled: FilledStore, trail: Trail, monkeypatch: pytest.MonkeyPatch, *, is_done: bool
) -> None:
    made = Migrating(is_done=is_done)
    monkeypatch.setattr("kmworker.cli.migrate._migration", lambda *_, **__: made)
    trail.before = refuse
    assert run("migrate", "--yes").exit_code == (0 if is_done else 3)
    assert made.carried == 0
    trail.before = lambda _record: None
    assert run("migrate", "--yes").exit_code == 0
    begun_and_done = [("store-migrated", "begun", None), ("store-migrated", "done", 3)]
    assert trail.told == ([] if is_done else begun_and_done)
    assert run("migrate", "--dry-run").exit_code == 0
    assert len(trail.records) == (0 if is_done else 2)


REHEARSED: dict[str, tuple[str, ...]] = {
    "rewrap": ("rewrap", "--dry-run"),
    "waiting expire": ("waiting", "expire", "--project", "p1", "snapshot:s9", "--dry-run"),
    "verify": ("verify",),
    "status": ("status",),
    "key show": ("key", "show", "volume:v1", "--project", "p1"),
}


@pytest.mark.parametrize("name", REHEARSED)
def test_who_only_looks_leaves_no_record(filled: FilledStore, trail: Trail, name: str) -> None:
    waiting(filled)
    run(*REHEARSED[name])
    assert trail.records == []


def _state(store: FilledStore, folder: Path) -> object:
    keys = sorted(store.client.scan_iter(match="km*", count=1000))
    read: dict[bytes, Callable[[bytes], object]] = {
        b"hash": store.client.hgetall,
        b"set": store.client.smembers,
        b"string": store.client.get,
        b"zset": lambda name: store.client.zrange(name, 0, -1, withscores=True),
    }
    found = {name: read[store.client.type(name)](name) for name in keys}
    return found, {it: it.read_bytes() for it in folder.rglob("*") if it.is_file()}
