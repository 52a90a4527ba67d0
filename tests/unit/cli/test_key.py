"""``kmworker key export``: the one way of a DEK out of the store."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from kmworker.crypto import keyfile
from kmworker.domain.model import Place
from tests.kit.builders import volume
from tests.kit.cli.stand import FilledStore, run, said

V1, V2, V3 = volume("v1"), volume("v2"), volume("v3")


def export(key_id: str, output: str | Path = "dek", project: str = "p1") -> Result:
    return run("key", "export", key_id, "--project", project, "--output", str(output))


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


def test_a_clone_has_the_same_dek_and_a_new_scope_another(
    filled: FilledStore, folder: Path
) -> None:
    for item in (V1, V2, V3):
        assert export(filled.key_id(item), item.id).exit_code == 0
    first, clone, other = ((folder / item.id).read_bytes() for item in (V1, V2, V3))
    assert first == clone != other


def taken_by_a_file(folder: Path) -> str:
    (folder / "taken").write_text("kept")
    return "taken"


def taken_by_a_link(folder: Path) -> str:
    (folder / "link").symlink_to(folder / "elsewhere")
    return "link"


@pytest.mark.parametrize(
    "place",
    [taken_by_a_file, taken_by_a_link, lambda _: "-", lambda _: "/dev/stdout",
     lambda _: "/dev/fd/1", str],
    ids=["a file", "a link", "a dash", "standard output", "its descriptor", "a folder"],
)  # fmt: skip
def test_nothing_but_a_new_file_is_written_to(
    filled: FilledStore, folder: Path, place: Callable[[Path], str]
) -> None:
    output = place(folder)
    before = sorted(folder.rglob("*"))
    code, out, err = said(export(filled.key_id(V1), output))
    assert (code, out) == (2, "")
    assert err.startswith(f"kmworker: --output {output}: ")
    assert err.endswith("\nhint: name a file that is not there yet\n")
    assert sorted(folder.rglob("*")) == before
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


def test_a_file_that_cannot_be_finished_is_not_left(
    filled: FilledStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kmworker.crypto.keyfile.os.fsync", full)
    code, _, err = said(export(filled.key_id(V1)))
    assert code == 2
    assert err.startswith("kmworker: dek: No space left on device\n")
    assert not (folder / "dek").exists()


def test_a_folder_that_is_not_there_is_named(filled: FilledStore) -> None:
    code, _, err = said(export(filled.key_id(V1), "nowhere/dek"))
    assert code == 2
    assert err.startswith("kmworker: nowhere/dek: No such file or directory\n")


def test_an_unknown_key_id_is_not_there(filled: FilledStore, folder: Path) -> None:
    code, out, err = said(export("nobody"))
    assert (code, out) == (1, "")
    assert err.startswith("kmworker: no key-id nobody in project p1\n")
    code, _, err = said(export(filled.key_id(V1), project="p2"))
    assert code == 1
    assert not (folder / "dek").exists()


def rewrite_key(store: FilledStore, old: bytes, new: bytes) -> None:
    """Change a key's record with the keyring in hand: its seal is good."""
    name, field = "km:{p1}:keys", store.key_id(V1)
    place = Place("p1", "keys", field)
    body = store.custody.check_seal(place, store.client.hget(name, field))
    assert old in body
    store.client.hset(name, field, store.custody.seal(place, body.replace(old, new)))


def test_a_destroyed_key_is_not_exported(filled: FilledStore, folder: Path) -> None:
    rewrite_key(filled, b'"active"', b'"destroyed"')
    code, _, err = said(export(filled.key_id(V1)))
    assert code == 1
    assert "is destroyed" in err
    assert not (folder / "dek").exists()


@pytest.mark.parametrize("state", ["suspended", "compromised"])
def test_a_doubtful_key_is_exported_for_data_has_to_be_re_encrypted(
    filled: FilledStore, state: str
) -> None:
    rewrite_key(filled, b'"active"', f'"{state}"'.encode())
    assert export(filled.key_id(V1)).exit_code == 0


def break_key(store: FilledStore) -> None:
    """Point a key-id to another scope, past its seal."""
    ours, theirs = store.scope_id(V1).encode(), store.scope_id(V3).encode()
    store.change("p1", "keys", store.key_id(V1), ours, theirs)


def break_scope(store: FilledStore) -> None:
    store.change("p1", "scopes", store.scope_id(V1), b"volume:v1", b"volume:v9")


def swap_deks(store: FilledStore) -> None:
    name = "kmsecret:{p1}:deks"
    other = store.client.hget(name, store.scope_id(V3))
    store.client.hset(name, store.scope_id(V1), other)


def lose_scope(store: FilledStore) -> None:
    store.client.hdel("km:{p1}:scopes", store.scope_id(V1))


def lose_dek(store: FilledStore) -> None:
    store.client.hdel("kmsecret:{p1}:deks", store.scope_id(V1))


@pytest.mark.parametrize("harm", [break_key, break_scope, swap_deks, lose_scope, lose_dek])
def test_records_that_do_not_hold_together_give_no_key(
    filled: FilledStore, folder: Path, harm: Callable[[FilledStore], None]
) -> None:
    key_id = filled.key_id(V1)
    harm(filled)
    code, out, err = said(export(key_id))
    assert (code, out) == (1, "")
    assert err.startswith("kmworker: integrity: ")
    assert not (folder / "dek").exists()


def test_a_keyring_without_the_kek_is_refused(filled: FilledStore, folder: Path) -> None:
    key_id = filled.key_id(V1)
    (folder / "keyring.json").unlink()
    run("keyring", "init")
    code, _, err = said(export(key_id))
    assert code == 2
    assert "hint: use the keyring that the store was filled with" in err
    assert "or somebody wrote there: restore the hash km:layout from a backup" in err
    assert not (folder / "dek").exists()


def test_a_check_value_that_somebody_wrote_is_told_as_a_cause(filled: FilledStore) -> None:
    filled.client.hset("km:keyring", "check:0123456789abcdef", "forged")
    code, _, err = said(export(filled.key_id(V1)))
    assert code == 2
    assert "under KEK 0123456789abcdef, which this keyring lacks" in err
    assert "or somebody wrote there: restore the hash km:keyring from a backup" in err
