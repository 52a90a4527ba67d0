"""A KEK's life by command: added, activated, rewrapped to, leaked, retired, removed, restored."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.kit.builders import volume
from tests.kit.cli.stand import FilledStore, document, documents, failed, run

WHY = ("--operator", "alice", "--reason", "drill")


def active() -> str:
    """The KEK that is written under."""
    (found,) = [it["kek_id"] for it in document("keyring", "status")["keks"] if _is_active(it)]
    return str(found)


def _is_active(kek: dict[str, Any]) -> bool:
    return str(kek["state"]) == "active"


def state_of(kek: str) -> str:
    """Its state, as the store says."""
    found = {it["kek_id"]: it["state"] for it in document("keyring", "status")["keks"]}
    return str(found[kek])


@pytest.fixture
def former(filled: FilledStore) -> str:
    """The KEK that all is under; another has taken over."""
    filled.admit()
    before = active()
    added = run("keyring", "add", *WHY)
    assert added.exit_code == 0, added.stderr
    kek = next(it for it in kek_ids() if it != before)
    activated = run("keyring", "activate", kek, *WHY)
    assert (activated.exit_code, activated.stdout) == (0, f"KEK {kek} is active\n")
    return before


def kek_ids() -> list[str]:
    """Those of the keyring file."""
    return [it["kek_id"] for it in document("keyring", "status")["keks"]]


def test_a_kek_that_is_not_there_takes_no_step(filled: FilledStore) -> None:
    filled.admit()
    for step in ("activate", "retire", "remove", "compromise"):
        assert "KEK 0123456789abcdef" in failed(1, "keyring", step, "0123456789abcdef", *WHY)


def test_nothing_is_retired_that_records_are_under(former: str) -> None:
    assert "not rewrapped yet: p1" in failed(1, "keyring", "retire", former, *WHY)


def test_a_kek_is_rewrapped_retired_removed_and_restored(former: str, folder: Path) -> None:
    assert run("rewrap").exit_code == 0
    assert document("keyring", "retire", former, *WHY)["state"] == "retired"
    assert "is retired since" in failed(1, "keyring", "remove", former, *WHY)
    removed = run("keyring", "remove", former, *WHY, keyring__keep_days="0")
    assert removed.exit_code == 0, removed.stderr
    assert former not in (folder / "keyring.json").read_text()
    restored = run("keyring", "restore", former)
    assert restored.exit_code == 0, restored.stderr
    assert former in (folder / "keyring.json").read_text()
    assert run("verify").exit_code == 0


def test_the_active_kek_is_not_compromised(filled: FilledStore) -> None:
    filled.admit()
    assert "activate another" in failed(1, "keyring", "compromise", active(), *WHY)


def test_what_a_leak_hits_is_listed_and_marked(former: str, filled: FilledStore) -> None:
    key_id = filled.key_id(volume("v1"))
    *hits, would_be = documents("keyring", "compromise", former, *WHY, "--dry-run")
    assert {it["ref"] for it in hits} >= {"volume:v1"}
    assert (would_be["dry_run"], would_be["key_ids_changed"]) == (True, 0)
    assert state_of(former) == "known"
    declined = run("keyring", "compromise", former, *WHY, stdin="n\n")
    assert state_of(former) == "known", declined.stderr
    *_hits, done = documents("keyring", "compromise", former, *WHY, "--yes")
    assert (done["state"], done["items"], done["flawed"]) == ("compromised", len(hits), 0)
    assert done["scopes_changed"] > 0
    raw = json.loads(filled.client.hget("km:{p1}:keys", key_id))
    assert raw["state"] == "compromised"
    again = run("keyring", "compromise", former, *WHY, "--yes")
    assert f"KEK {former} is compromised; compromised: 0 scopes, 0 key-ids" in again.stdout
