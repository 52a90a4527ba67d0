"""``kmworker doctor``: one finding a line, one cause one failure, and nothing changed."""

import json
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import NoPermissionError

from kmworker.errors import BrokerUnavailable
from tests.unit.cli.stand import NOW_S, FilledStore, family, run, said

ALL_NAMES = ["configuration", "keyring", "policy", "broker", "queues", "permissions", "store",
             "durability", "history", "workers", "records", "clock"]  # fmt: skip
DURABLE = {
    "appendonly": "yes",
    "appendfsync": "always",
    "no-appendfsync-on-rewrite": "no",
    "maxmemory-policy": "noeviction",
}


class FakeLink:
    """A connection that comes about, unless told otherwise."""

    error: Exception | None = None

    def __init__(self, *_arguments: object) -> None:
        """Take what a link takes."""

    def open(self) -> None:
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        """Leave."""


class FakeInspection:
    """A broker where all is as it should be, unless told otherwise."""

    missing: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    rights: tuple[str, ...] = ()
    anchors: bool = True

    def __init__(self, *_arguments: object) -> None:
        """Take what an inspection takes."""

    def server(self) -> str:
        return "RabbitMQ 3.10.8"

    def missing_names(self) -> list[str]:
        return list(self.missing)

    def other_queues(self) -> list[str]:
        return list(self.others)

    def missing_rights(self) -> list[str]:
        return list(self.rights)

    def may_anchor(self) -> bool:
        return self.anchors


@pytest.fixture
def healthy(store: FilledStore, monkeypatch: pytest.MonkeyPatch) -> FilledStore:
    """An installation without a fault."""
    monkeypatch.setenv("KMWORKER_BROKER__URL", "amqp://kmworker:secret@broker/")
    for name, fake in (("Link", FakeLink), ("Inspection", FakeInspection)):
        monkeypatch.setattr(f"kmworker.cli.doctor.{name}", fake)
    monkeypatch.setattr("kmworker.cli.doctor.time", lambda: NOW_S)
    store.client.config_get = lambda *_names: DURABLE
    store.client.info = lambda _section: {"redis_version": "7.0.15"}
    store.client.time = lambda: (int(NOW_S), 500_000)
    store.assign(*family())
    return store


def findings() -> dict[str, dict[str, Any]]:
    """What each check found; the exit code has to agree."""
    result = run("doctor", "--json")
    document = json.loads(result.stdout)
    found = {check["check"]: check for check in document["checks"]}
    has_failed = any(check["status"] == "failed" for check in found.values())
    assert (result.exit_code, document["ok"]) == (int(has_failed), not has_failed)
    return found


def failed() -> dict[str, str]:
    """The checks that failed, with what they say; each has a hint."""
    bad = {name: it for name, it in findings().items() if it["status"] == "failed"}
    assert all(it["hint"] for it in bad.values())
    return {name: it["detail"] for name, it in bad.items()}


def not_checked() -> list[str]:
    return [name for name, it in findings().items() if it["status"] == "not checked"]


def test_a_healthy_installation_is_twelve_lines(healthy: FilledStore, folder: Path) -> None:
    active = healthy.vault.kek_id
    assert said(run("doctor")) == (
        0,
        f"""\
ok             configuration  from the environment and defaults
ok             keyring        {folder}/keyring.json, mode 0600, 1 KEK, active {active}
ok             policy         the shipped one, 8 rules, 4 ciphers
ok             broker         RabbitMQ 3.10.8 at amqp://kmworker:***@broker/
ok             queues         all of kmworker.* is there
ok             permissions    this user may consume and publish
ok             store          Redis 7.0.15 at redis://127.0.0.1
ok             durability     what is acknowledged is on disk, and no key is evicted
ok             history        5 commits, none seen to be lost
ok             workers        0 workers making progress or idle
ok             records        of this keyring
ok             clock          the store's is 0.5 s ahead of this host's
""",
        "",
    )


def test_a_broker_without_an_anchor_is_said_to_be_one(
    healthy: FilledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeInspection, "anchors", False)
    assert findings()["permissions"]["detail"].endswith("no anchor is kept (see config/rabbitmq/)")
    assert failed() == {}


def test_a_store_that_went_back_in_time_fails_with_its_incident(healthy: FilledStore) -> None:
    healthy.client.hset("km:commits", "incident", "abc")
    assert failed() == {"history": "incident abc: the store went back in time"}


def test_a_worker_that_is_stuck_fails_the_check(healthy: FilledStore) -> None:
    worker = {"host": "elsewhere", "pid": 1, "state": "running", "busy_since": NOW_S - 75}
    healthy.client.zadd("km:workers", {"w1": NOW_S})
    healthy.client.hset("km:worker:w1", mapping=worker)
    assert failed()["workers"].startswith("w1 is stuck: it has had events at hand for 75 s")


def test_nothing_is_written_to_the_store(healthy: FilledStore) -> None:
    before = healthy.dump()
    run("doctor")
    assert healthy.dump() == before


def test_a_failure_has_its_hint_below_it(
    healthy: FilledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeInspection, "rights", ("read kmworker.events.work",))
    code, out, _ = said(run("doctor"))
    assert code == 1
    lines = [line for line in out.splitlines() if not line.startswith("ok ")]
    assert lines == [
        "FAILED         permissions    this user may not read kmworker.events.work",
        f"{'':30}hint: grant them with rabbitmqctl set_permissions; see config/rabbitmq/",
    ]


def test_where_nothing_is_configured_the_causes_are_named_once() -> None:
    assert list(findings()) == ALL_NAMES
    assert set(failed()) == {"keyring", "broker", "store"}
    assert not_checked() == [
        "queues",
        "permissions",
        "durability",
        "history",
        "workers",
        "records",
        "clock",
    ]


def test_a_configuration_that_cannot_be_read_is_the_only_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KMWORKER_WORKER__BATCH_MAX", "many")
    assert list(failed()) == ["configuration"]
    assert not_checked() == ALL_NAMES[1:]


def test_an_open_keyring_fails_and_the_records_cannot_be_compared(
    healthy: FilledStore, folder: Path
) -> None:
    (folder / "keyring.json").chmod(0o644)
    assert "open to group or others" in failed()["keyring"]
    assert not_checked() == ["records"]


def test_an_unsound_policy_fails(
    healthy: FilledStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "policy.toml").write_text("[[rule]]")
    monkeypatch.setenv("KMWORKER_POLICY__PATH", "policy.toml")
    assert list(failed()) == ["policy"]


def test_an_unreachable_broker_fails_once(
    healthy: FilledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeLink, "error", BrokerUnavailable("connection refused"))
    assert failed() == {"broker": "connection refused"}
    assert not_checked() == ["queues", "permissions"]


def test_missing_names_are_named(healthy: FilledStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeInspection, "missing", ("exchange a", "queue b"))
    assert failed() == {"queues": "missing: exchange a, queue b"}
    assert not_checked() == ["permissions"]


def test_other_queues_are_named(healthy: FilledStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeInspection, "others", ("kmworker.dead",))
    assert failed() == {"queues": "no durable quorum queues: kmworker.dead"}


def test_streams_are_a_broker_without_queues_of_their_own(
    healthy: FilledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KMWORKER_BROKER__URL", "redis://127.0.0.1")
    monkeypatch.setattr("kmworker.cli.doctor.connect_to", lambda _url, _timeout: healthy.client)
    found = findings()
    assert found["broker"]["detail"] == "streams in Redis 7.0.15 at redis://127.0.0.1"
    assert list(found) == [it for it in ALL_NAMES if it not in {"queues", "permissions"}]


def test_an_unreachable_store_fails_once(
    healthy: FilledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("KMWORKER_STORE__URL", "redis://127.0.0.1:1")
    assert "store" in failed()
    assert {"durability", "records", "clock"} <= set(not_checked())


def test_an_old_redis_fails(healthy: FilledStore) -> None:
    healthy.client.info = lambda _section: {"redis_version": "6.2.1"}
    assert failed() == {"store": "Redis 6.2.1 is too old"}


def test_a_valkey_is_named_as_such(healthy: FilledStore) -> None:
    healthy.client.info = lambda _section: {
        "server_name": "valkey", "redis_version": "7.2.4", "valkey_version": "9.1.2",
    }  # fmt: skip
    assert findings()["store"]["detail"].startswith("Valkey 9.1.2 at ")


def test_a_volatile_store_fails_unless_it_is_allowed(
    healthy: FilledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy.client.config_get = lambda *_names: {**DURABLE, "appendfsync": "everysec"}
    assert "appendfsync is everysec, not always" in failed()["durability"]
    monkeypatch.setenv("KMWORKER_STORE__ALLOW_VOLATILE", "true")
    found = findings()["durability"]
    assert found["status"] == "ok"
    assert found["detail"].startswith("allowed by store.allow_volatile: ")


def test_a_new_store_is_no_failure_and_stays_new(healthy: FilledStore) -> None:
    healthy.client.flushall()
    assert findings()["records"]["detail"] == "none yet: the first worker enters its keyring"
    assert not healthy.client.keys()


def test_records_without_their_keyring_entry_fail(healthy: FilledStore) -> None:
    healthy.client.delete("km:keyring")
    assert failed() == {"records": "the store has records, but km:keyring is missing"}


def test_another_keyring_fails(healthy: FilledStore, folder: Path) -> None:
    kek_id = healthy.vault.kek_id
    (folder / "keyring.json").unlink()
    run("keyring", "init")
    told = f"the store's records are under KEK {kek_id}, which this keyring lacks"
    assert failed() == {"records": told}


def test_an_altered_check_value_fails(healthy: FilledStore) -> None:
    healthy.client.hset("km:keyring", f"check:{healthy.vault.kek_id}", "0" * 64)
    assert "km:keyring has been altered" in failed()["records"]


@pytest.mark.parametrize(
    ("theirs_s", "status", "detail"),
    [
        (NOW_S - 1, "ok", "the store's is 1.0 s behind this host's"),
        (NOW_S + 60, "failed", "the store's is 60.0 s ahead of this host's"),
        (NOW_S - 60, "failed", "the store's is 60.0 s behind this host's"),
    ],
)
def test_clocks_are_compared(
    healthy: FilledStore, theirs_s: float, status: str, detail: str
) -> None:
    healthy.client.time = lambda: (int(theirs_s), 0)
    found = findings()["clock"]
    assert (found["status"], found["detail"]) == (status, detail)


def test_a_clock_that_this_user_may_not_see_is_no_failure(healthy: FilledStore) -> None:
    def refuse() -> None:
        raise NoPermissionError("NOPERM this user has no permissions to run 'time'")

    healthy.client.time = refuse
    assert findings()["clock"]["status"] == "not checked"
