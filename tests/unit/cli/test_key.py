"""``kmworker key export``: the one way of a DEK out of the store."""

import getpass
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from kmworker.domain.audit import Act, ActorKind, ActOutcome, AuditRecord
from kmworker.domain.model import Place
from kmworker.errors import NotRecorded
from kmworker.files import keyfile
from tests.kit.builders import volume
from tests.kit.cli.stand import FilledStore, Trail, run, said

V1, V2, V3 = volume("v1"), volume("v2"), volume("v3")


@pytest.fixture(autouse=True)
def recording(trail: Trail) -> None:
    """Nothing is exported that is not recorded."""


def export(key_id: str, output: str | Path = "dek", project: str = "p1") -> Result:
    return run("key", "export", key_id, "--project", project, "--output", str(output))


def refused(code: int, key_id: str, output: str = "dek", project: str = "p1") -> str:
    """What is said instead of an export; there is no file then."""
    there = sorted(Path().rglob("*"))
    result = export(key_id, output, project)
    assert (result.exit_code, result.stdout) == (code, "")
    assert sorted(Path().rglob("*")) == there
    return result.stderr


def test_the_dek_is_in_a_file_of_its_owners_alone(filled: FilledStore, folder: Path) -> None:
    key_id = filled.key_id(V1)
    before = os.umask(0)
    try:
        told = f"wrote 64 bytes of key-id {key_id} to dek\n"
        assert said(export(key_id)) == (0, told, "")
    finally:
        os.umask(before)
    path = folder / "dek"
    assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_size) == (0o600, 64)
    held = filled.held(V1)
    assert held.scope is not None
    blob = filled.client.hget("kmsecret:{p1}:deks", held.scope.scope_id)
    assert path.read_bytes() == filled.custody.unwrap("p1", held.scope, blob)


def test_it_is_recorded_with_who_and_why_before_there_is_a_file(
    filled: FilledStore, folder: Path, trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Also where nothing else is.
    monkeypatch.delenv("KMWORKER_AUDIT__RECORDS")
    trail.before = lambda _record: _no_file(folder / "dek")
    key_id = filled.key_id(V1)
    who = ("--operator", "alice", "--reason", "a drill")
    result = run("key", "export", key_id, "--project", "p1", "--output", "dek", *who)
    assert result.exit_code == 0
    (record,) = trail.records
    assert (record.what, record.outcome) == (Act.KEY_EXPORTED, ActOutcome.DONE)
    assert (record.project, record.key_id, record.reason) == ("p1", key_id, "a drill")
    assert (record.who.kind, record.who.name) == (ActorKind.OPERATOR, "alice")
    assert record.who.os_user == getpass.getuser()


def _no_file(path: Path) -> None:
    assert not path.exists()


def test_what_cannot_be_recorded_is_not_exported(filled: FilledStore, trail: Trail) -> None:
    def refuse(_record: AuditRecord) -> None:
        raise NotRecorded("its queue is full")

    trail.before = refuse
    err = refused(3, filled.key_id(V1))
    assert err.startswith("kmworker: nothing was done: its queue is full\n")


def test_what_is_refused_leaves_no_record(filled: FilledStore, trail: Trail) -> None:
    refused(1, "nobody")
    refused(2, filled.key_id(V1), "-")
    assert run("key", "export", filled.key_id(V1), "--project", "p1", "--output", "dek",
               "--reason", "two\nlines").exit_code == 2  # fmt: skip
    assert trail.records == []


def test_a_clone_has_the_same_dek_and_a_new_scope_another(
    filled: FilledStore, folder: Path
) -> None:
    for item in (V1, V2, V3):
        assert export(filled.key_id(item), item.id).exit_code == 0
    first, clone, other = ((folder / item.id).read_bytes() for item in (V1, V2, V3))
    assert first == clone != other


@pytest.mark.parametrize("output", ["taken", "link", "-", "/dev/stdout", "/dev/fd/1", "."])
def test_nothing_but_a_new_file_is_written_to(
    filled: FilledStore, folder: Path, output: str
) -> None:
    (folder / "taken").write_text("kept")
    (folder / "link").symlink_to(folder / "elsewhere")
    err = refused(2, filled.key_id(V1), output)
    assert err.startswith(f"kmworker: --output {output}: ")
    assert err.endswith("\nhint: name a file that is not there yet\n")
    assert (folder / "taken").read_text() == "kept"
    assert not (folder / "elsewhere").exists()


def test_a_file_that_appears_meanwhile_is_not_overwritten(
    filled: FilledStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = keyfile.create

    def race(path: Path, content: bytes) -> str | None:
        path.write_text("kept")
        return create(path, content)

    monkeypatch.setattr(keyfile, "create", race)
    code, _, err = said(export(filled.key_id(V1)))
    assert code == 2
    assert err.startswith("kmworker: dek: already exists\nhint: ")
    assert (folder / "dek").read_text() == "kept"


def rewrite_key(store: FilledStore, old: bytes, new: bytes) -> None:
    """Change a key's record with the keyring in hand: its seal is good."""
    name, field = "km:{p1}:keys", store.key_id(V1)
    place = Place("p1", "keys", field)
    body = store.custody.check_seal(place, store.client.hget(name, field))
    assert old in body
    store.client.hset(name, field, store.custody.seal(place, body.replace(old, new)))


def test_an_unknown_key_id_is_not_there(filled: FilledStore) -> None:
    assert refused(1, "nobody").startswith("kmworker: no key-id nobody in project p1\n")
    refused(1, filled.key_id(V1), project="p2")


def test_a_destroyed_key_is_not_exported(filled: FilledStore) -> None:
    rewrite_key(filled, b'"active"', b'"destroyed"')
    assert "is destroyed" in refused(1, filled.key_id(V1))


@pytest.mark.parametrize("state", ["suspended", "compromised"])
def test_a_doubtful_key_is_exported_for_data_has_to_be_re_encrypted(
    filled: FilledStore, state: str
) -> None:
    rewrite_key(filled, b'"active"', f'"{state}"'.encode())
    assert export(filled.key_id(V1)).exit_code == 0


DEKS = "kmsecret:{p1}:deks"
HARMS: dict[str, Callable[[FilledStore], object]] = {
    "a key-id of another scope": lambda it: it.change(
        "p1", "keys", it.key_id(V1), it.scope_id(V1).encode(), it.scope_id(V3).encode()
    ),
    "a scope of another root": lambda it: it.change(
        "p1", "scopes", it.scope_id(V1), b"volume:v1", b"volume:v9"
    ),
    "another scope's DEK": lambda it: it.client.hset(
        DEKS, it.scope_id(V1), it.client.hget(DEKS, it.scope_id(V3))
    ),
    "no scope": lambda it: it.client.hdel("km:{p1}:scopes", it.scope_id(V1)),
    "no DEK": lambda it: it.client.hdel(DEKS, it.scope_id(V1)),
}


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_records_that_do_not_hold_together_give_no_key(
    filled: FilledStore, harm: Callable[[FilledStore], object]
) -> None:
    key_id = filled.key_id(V1)
    harm(filled)
    assert refused(1, key_id).startswith("kmworker: integrity: ")


def test_a_keyring_without_the_kek_is_refused(filled: FilledStore, folder: Path) -> None:
    key_id = filled.key_id(V1)
    (folder / "keyring.json").unlink()
    run("keyring", "init")
    err = refused(2, key_id)
    assert "hint: use the keyring that the store was filled with" in err
    assert "or somebody wrote there: restore the hash km:layout from a backup" in err


def test_a_check_value_that_somebody_wrote_is_told_as_a_cause(filled: FilledStore) -> None:
    kek_id = filled.client.hget("km:keyring", "kek_ids").decode()
    filled.client.hset("km:keyring", f"check:{kek_id}", "forged")
    err = refused(2, filled.key_id(V1))
    assert f"its source does not fit its check value for KEK {kek_id}" in err
    assert "find out who wrote to the store" in err
