"""``kmworker keyring``: fingerprints, never keys."""

import json
import stat
from pathlib import Path

from kmworker.crypto import Keyring
from kmworker.crypto.keyring_archive import archive_kek
from tests.kit.cli.stand import run, said


def test_init_makes_a_file_and_prints_the_fingerprint(folder: Path) -> None:
    code, out, err = said(run("keyring", "init"))
    path = folder / "keyring.json"
    document = json.loads(path.read_bytes())
    (kek_id,) = document["keks"]
    assert (code, out) == (0, kek_id + "\n")
    assert err == f"kmworker: made {path}: back it up, apart from the store\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_path_can_be_named_where_nothing_is_configured(folder: Path) -> None:
    assert run("keyring", "init", "--path", "mine").exit_code == 0
    assert (folder / "mine").exists()
    assert run("keyring", "status", "--path", "mine").exit_code == 0
    assert run("keyring", "status").exit_code == 2


def test_status_shows_fingerprints_and_no_keys(folder: Path) -> None:
    active = run("keyring", "init").stdout.strip()
    keks = json.loads((folder / "keyring.json").read_bytes())["keks"]
    code, out, err = said(run("keyring", "status"))
    assert (code, err) == (0, "")
    first, head, row = out.splitlines()
    assert first == f"{folder / 'keyring.json'} (mode 0600)"
    assert head.split() == ["kek-id", "created", "at", "state", "since", "by"]
    assert row.split() == [
        active,
        keks[active]["created_at"],
        *["not", "known", "to", "a", "store"],
    ]
    shown = out + run("keyring", "status", "--json").stdout
    assert keks[active]["key"] not in shown


def test_a_keyring_is_made_under_a_root_and_moved(folder: Path) -> None:
    words = folder / "passphrase"
    words.write_text("correct horse battery staple\n")
    words.chmod(0o600)
    rooted = f"file:?passphrase-file={words}"
    code, kek_id, _err = said(run("keyring", "init", "--root", rooted))
    assert code == 0
    document = json.loads((folder / "keyring.json").read_bytes())
    assert document["root"] == "file:?passphrase-file"
    code, _out, err = said(run("keyring", "status"))
    assert (code, "keyring.root names none" in err) == (2, True)
    shown = run("keyring", "status", keyring__root=rooted).stdout
    assert f"{kek_id.strip()} " in shown
    assert "(mode 0600, under file:?passphrase-file)\n" in shown
    code, out, err = said(run("keyring", "move", "--to", "file:", keyring__root=rooted))
    assert (code, out) == (0, kek_id)
    assert "set keyring.root to the new root" in err
    assert kek_id.strip() in run("keyring", "status").stdout


def test_a_root_that_is_away_is_exit_code_3(folder: Path) -> None:
    secret_id = folder / "secret-id"
    secret_id.write_text("x")
    secret_id.chmod(0o600)
    url = f"openbao+http://127.0.0.1:9/transit/kek?role-id=r&secret-id-file={secret_id}"
    code, _out, err = said(run("keyring", "init", "--root", url))
    assert (code, "cannot be reached" in err) == (3, True)
    assert not (folder / "keyring.json").exists()


def test_a_removed_kek_is_put_back_from_the_archive_which_moves_with_the_keyring(
    folder: Path,
) -> None:
    words = folder / "passphrase"
    words.write_text("correct horse battery staple\n")
    words.chmod(0o600)
    rooted = f"file:?passphrase-file={words}"
    path, archive = folder / "keyring.json", folder / "keyring.archive.json"
    kek_id = run("keyring", "init").stdout.strip()
    Keyring.grow(path)
    archive_kek(path, archive, kek_id)
    assert run("keyring", "move", "--to", rooted).exit_code == 0
    assert json.loads(archive.read_bytes())["root"] == "file:?passphrase-file"
    code, out, err = said(run("keyring", "restore", kek_id, keyring__root=rooted))
    assert (code, out) == (0, f"KEK {kek_id} is in {path}\n")
    assert "bring it to every host" in err
    assert kek_id in run("keyring", "status", keyring__root=rooted).stdout


def test_an_archive_can_be_elsewhere(folder: Path) -> None:
    path, archive = folder / "keyring.json", folder / "safe.json"
    kek_id = run("keyring", "init").stdout.strip()
    Keyring.grow(path)
    archive_kek(path, archive, kek_id)
    code, _out, err = said(run("keyring", "restore", kek_id))
    assert (code, f"no archive of removed KEKs: {folder / 'keyring.archive.json'}" in err) == (
        1,
        True,
    )
    assert run("keyring", "restore", kek_id, keyring__archive=str(archive)).exit_code == 0
