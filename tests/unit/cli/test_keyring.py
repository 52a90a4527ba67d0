"""``kmworker keyring``: fingerprints, never keys."""

import json
import stat
from pathlib import Path

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
