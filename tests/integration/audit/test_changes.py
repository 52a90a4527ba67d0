"""What becomes of keys, grants, KEKs and clients, from who does it into the trail."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kmworker.audit.files import lines_of, segments_of
from kmworker.audit.lines import read_line
from kmworker.audit.records import data_of_record
from tests.integration.audit.conftest import Auditor, auditor_on
from tests.kit.outside.delegating import CLIENT, Delegation, attached, delegating, detached
from tests.kit.outside.worker import Site, working
from tests.kit.polling import until
from tests.kit.servers import RabbitMQ, StoreServer


def test_a_suspended_key_is_in_the_trail_with_who_did_it_and_why(
    rabbitmq: RabbitMQ, redis_server: StoreServer, namespace: str, prefix: str, tmp_path: Path
) -> None:
    settings = {"KMWORKER_AUDIT__RECORDS": "true"}
    site = Site(tmp_path, rabbitmq, redis_server, namespace, prefix, settings=settings)
    site.lay_keyring()
    auditor = auditor_on(rabbitmq, namespace, tmp_path)
    try:
        with working(site):
            site.run("publish", "volume-created", "--project", "p1", "--set", "volume_id=v1",
                     "--set", 'encryption={"cipher":"aes-xts-plain64","key_bits":512}')  # fmt: skip
            until(lambda: site.reader.records("p1", "items"), "it is assigned")
            change = ("volume:v1", "--project", "p1", "--operator", "alice", "--reason", "leak")
            # No auditor runs, and nobody waits for one.
            site.run("key", "suspend", *change)
            site.run("key", "resume", *change)
            auditor.start()
            tail = ("audit", "tail", "--json", "--project", "p1")

            def recorded() -> list[dict[str, object]]:
                lines = auditor.site.run(*tail, exit_code=None).stdout.splitlines()
                return [json.loads(line)["record"]["data"] for line in lines]

            until(lambda: len(recorded()) == 2, "both are in the trail")
        found = recorded()
        assert {it["what"] for it in found} == {"key-suspended", "key-resumed"}
        assert all(it["who"] == {"kind": "operator", "name": "alice"} for it in found)
        assert all(it["reason"] == "leak" for it in found)
    finally:
        auditor.close()


# --- an installation that delegates ---------------------------------------------------

WHO = ("--operator", "alice", "--reason", "drill")
ENCRYPTED = '{"cipher":"aes-xts-plain64","key_bits":512}'


@pytest.fixture
def delegation(
    rabbitmq: RabbitMQ, redis_server: StoreServer, namespace: str, prefix: str, tmp_path: Path
) -> Iterator[Delegation]:
    settings = {"KMWORKER_AUDIT__RECORDS": "true"}
    site = Site(tmp_path, rabbitmq, redis_server, namespace, prefix, settings=settings)
    site.lay_keyring()
    with delegating(site) as made:
        make(made, "v1")
        yield made


def make(made: Delegation, name: str) -> None:
    made.site.run("publish", "volume-created", "--project", "p1", "--set", f"volume_id={name}",
                  "--set", f"encryption={ENCRYPTED}")  # fmt: skip
    until(lambda: f"volume:{name}" in made.site.reader.records("p1", "items"), "it is assigned")


def records(auditor: Auditor) -> list[dict[str, Any]]:
    """Return what the trail says, in its order."""
    texts = (text for path in segments_of(auditor.directory) for text in lines_of(path))
    try:
        found = [read_line(text) for text in texts]
    except ValueError:
        # It is in the midst of a line.
        return []
    return [dict(data_of_record(it.body) or {}) for it in found if it.kind == "record"]


def acts(auditor: Auditor) -> Counter[str]:
    return Counter(it["what"] for it in records(auditor) if it["outcome"] != "begun")


def test_all_that_is_done_in_an_installation_is_in_its_trail(
    delegation: Delegation, rabbitmq: RabbitMQ, namespace: str, tmp_path: Path
) -> None:
    it, site = delegation, delegation.site
    auditor = auditor_on(rabbitmq, namespace, tmp_path / "host")
    auditor.start()
    try:
        it.tell(attached("v1", "a1"), attached("v1", "a2", "other"))
        key = it.get("v1")
        it.tell(detached("v1", "a1"))
        until(lambda: acts(auditor)["grant-ended"], "it is detached")
        assert it.exported("v1") == key
        # It is attached elsewhere while it goes.
        site.run("publish", "volume-deleted", "--project", "p1", "--set", "volume_id=v1")
        kek_id = site.run("keyring", "add", *WHO).stdout.split()[-1]
        activate = ("keyring", "activate", kek_id, *WHO)
        # Once those that run have taken the file up.
        until(lambda: not site.run(*activate, exit_code=None).returncode, "it is active")
        site.run("rewrap")
        site.run("client", "revoke", CLIENT, *WHO)
        site.run("announce", "--project", "p1")
        site.run("verify", "--repair")
        wanted = Counter({
            "client-enrolled": 1, "client-revoked": 1, "trust-list-published": 1,
            "grant-made": 2, "grant-ended": 2, "key-delivered": 1,
            "key-exported": 1, "key-deactivated": 1, "kek-added": 1, "kek-activated": 1,
            "rewrapped": 1, "announced-again": 1, "store-repaired": 1,
        })  # fmt: skip
        until(lambda: acts(auditor) >= wanted, "all is in the trail")
        found = records(auditor)
        # Each change is there once; nothing has failed meanwhile.
        assert acts(auditor) == wanted
        by = {what: next(one for one in found if one["what"] == what) for what in wanted}
        assert (by["client-revoked"]["client"], by["client-revoked"]["reason"]) == (CLIENT, "drill")
        assert by["kek-activated"]["kek_id"] == kek_id
        assert all(by[what]["who"]["name"] == "alice" for what in by if what.startswith("kek-"))
        ended = {one["attachment_id"]: one for one in found if one["what"] == "grant-ended"}
        assert ended["a1"]["event"] == "off v1 a1"
        assert ended["a2"]["node"] == "other"
        assert ended["a2"]["event"] == by["key-deactivated"]["request"]
        assert key.hex() not in str(found)
        until(
            lambda: site.reader.fields("totals")["unrecorded"] == "0",
            "nothing is left to be recorded",
        )
        assert auditor.stop() == 0
        assert auditor.verified().is_good
    finally:
        auditor.close()


def test_who_takes_a_key_away_does_not_wait_for_a_trail_that_takes_nothing(
    delegation: Delegation, rabbitmq: RabbitMQ, namespace: str, tmp_path: Path
) -> None:
    it, site = delegation, delegation.site
    it.tell(attached("v1"))
    it.get("v1")
    limits = {"delivery-limit": 1_000_000_000, "overflow": "reject-publish", "max-length": 0}
    auditor = auditor_on(rabbitmq, namespace, tmp_path / "host")
    try:
        with rabbitmq.policy(namespace, r".*\.audit$", limits, priority=500):
            until(lambda: _is_refused(it), "the trail takes nothing")
            kek_id = site.run("keyring", "add", *WHO).stdout.split()[-1]
            site.run("keyring", "compromise", kek_id, "--yes", *WHO)
            site.run("client", "revoke", CLIENT, *WHO)
            site.run("key", "suspend", "volume:v1", "--project", "p1", *WHO)
            it.tell(detached("v1"))
            until(lambda: "over" in it.attachments("v1")["a1"], "it is detached")
            site.run("rewrap", exit_code=3)
            (left,) = site.reader.records("p1", "unrecorded")
            assert left.startswith("volume:v1 ")
        auditor.start()
        wanted = {"kek-compromised", "client-revoked", "key-suspended", "grant-ended"}
        until(lambda: wanted <= acts(auditor).keys(), "all is in the trail")
    finally:
        auditor.close()


def _is_refused(it: Delegation) -> bool:
    """Return whether an export is refused for want of a trail."""
    item = it.site.reader.records("p1", "items")["volume:v1"]
    path = it.host / "refused.bin"
    path.unlink(missing_ok=True)
    done = it.site.run("key", "export", item["data"]["key_id"], "--project", "p1",
                       "--output", str(path), exit_code=None)  # fmt: skip
    assert done.returncode in {0, 3}
    assert path.exists() == (done.returncode == 0)
    return done.returncode == 3
