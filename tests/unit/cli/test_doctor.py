"""``kmworker doctor``: one finding a line, one cause one failure, and nothing changed."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import NoPermissionError

from kmworker.clock import unix_s
from kmworker.crypto import Keyring
from kmworker.errors import BrokerUnavailable, NotCounted
from kmworker.settings import BrokerSettings
from kmworker.store.kek_states import keks_named
from tests.kit.cli.delegating import hand_out, report_key_server
from tests.kit.cli.stand import NOW_S, FilledStore, run, said

ALL_NAMES = ["configuration", "keyring", "policy", "producers", "tls", "broker", "queues",
             "permissions", "policies", "audit", "requests", "store", "rights", "writes",
             "durability", "clients", "history", "reports", "workers", "janitor", "keyservers",
             "trust", "records", "keks", "clock"]  # fmt: skip
DAY_S = 86_400
DURABLE = {
    "appendonly": "yes",
    "appendfsync": "always",
    "no-appendfsync-on-rewrite": "no",
    "maxmemory-policy": "noeviction",
    "client-output-buffer-limit": "normal 268435456 134217728 10 slave 0 0 0 pubsub 0 0 0",
    "maxmemory-clients": "536870912",
}


class FakeLink:
    """A connection that comes about, but for brokers that are away."""

    def __init__(self, settings: BrokerSettings, *_arguments: object) -> None:
        """Take what a link takes."""
        self.url = str(settings.url)

    def open(self) -> None:
        if "away" in self.url:
            raise BrokerUnavailable("no route to host")

    def close(self) -> None:
        """Leave."""


class FakeInspection:
    """A broker where all is as it should be, unless told otherwise."""

    anchors: bool = True
    audit: tuple[int, int] | None = (0, 1)
    records: bool = True
    requests: tuple[int, int] | None = (0, 1)
    user: str = "kmworker"

    def __init__(self, *_arguments: object) -> None:
        """Take what an inspection takes."""

    def server(self) -> str:
        return f"RabbitMQ {self.version()}"

    def version(self) -> str:
        return "3.10.8"

    def nothing(self) -> list[str]:
        return []

    missing_names = other_queues = missing_rights = nothing

    def may_anchor(self) -> bool:
        return self.anchors

    def audit_queue(self) -> tuple[int, int] | None:
        return self.audit

    def request_queue(self) -> tuple[int, int] | None:
        return self.requests

    def may_record(self) -> bool:
        return self.records


@pytest.fixture
def healthy(filled: FilledStore, monkeypatch: pytest.MonkeyPatch) -> FilledStore:
    """An installation without a fault."""
    monkeypatch.setenv("KMWORKER_BROKER__URL", "amqps://kmworker:secret@broker/")
    for name, fake in (("Link", FakeLink), ("Inspection", FakeInspection)):
        monkeypatch.setattr(f"kmworker.cli.doctor.broker.{name}", fake)
    monkeypatch.setattr("kmworker.cli.doctor.store.time", lambda: NOW_S)
    filled.client.config_get = lambda *_names: DURABLE
    # fakeredis has no users.
    monkeypatch.setattr("kmworker.store.durability._unreadable", lambda *_given: ())
    filled.client.info = lambda _section: {"redis_version": "7.0.15"}
    filled.client.time = lambda: (int(NOW_S), 500_000)
    return filled


def findings(**settings: str) -> dict[str, dict[str, Any]]:
    """What each check found; the exit code has to agree."""
    result = run("doctor", "--json", **settings)
    document = json.loads(result.stdout)
    found = {check["check"]: check for check in document["checks"]}
    has_failed = any(check["status"] == "failed" for check in found.values())
    assert (result.exit_code, document["ok"]) == (int(has_failed), not has_failed)
    return found


def failed(**settings: str) -> dict[str, str]:
    """The checks that failed, with what they say; each has a hint."""
    bad = {name: it for name, it in findings(**settings).items() if it["status"] == "failed"}
    assert all(it["hint"] for it in bad.values())
    return {name: it["detail"] for name, it in bad.items()}


def warned(check: str, **settings: str) -> tuple[str, str]:
    """What a check that warns says, and its hint; nothing fails."""
    found = findings(**settings)
    assert not any(it["status"] == "failed" for it in found.values())
    assert found[check]["status"] == "warning"
    return found[check]["detail"], found[check]["hint"]


def not_checked() -> list[str]:
    return [name for name, it in findings().items() if it["status"] == "not checked"]


def test_a_password_that_crosses_a_network_in_plain_text_is_a_warning(
    healthy: FilledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    detail, hint = warned("tls", broker__url="amqp://kmworker:secret@broker/")
    assert detail.endswith("in plain text: broker.url: amqp://kmworker:***@broker/")
    assert hint
    api = "in plain text: broker.management_url: http://doctor:***@rabbit:15672"
    found = findings(broker__management_url="http://doctor:secret@rabbit:15672")
    assert found["tls"]["detail"].endswith(api)
    for harmless in ("http://doctor:secret@localhost:15672", "https://doctor:secret@rabbit:15671"):
        assert findings(broker__management_url=harmless)["tls"]["status"] == "ok"
    monkeypatch.delenv("KMWORKER_BROKER__URL")
    urls = '["amqps://u:secret@b1/", "amqp://u:secret@b2/", "amqp://u:secret@127.0.0.1/"]'
    detail, _ = warned("tls", broker__urls=urls)
    assert detail.endswith("in plain text: broker.urls: amqp://u:***@b2/")


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
    assert not_checked() == ["policies", "trust", "records", "keks"]


def test_an_unsound_policy_fails(healthy: FilledStore, policy: Path) -> None:
    policy.write_text("[[rule]]")
    assert list(failed()) == ["policy"]


def test_keys_that_no_janitor_destroys_are_a_warning(healthy: FilledStore) -> None:
    assert findings()["janitor"]["detail"] == "none was seen; key-ids due: none"
    totals = {"due": 3, "next_due": NOW_S - 2 * DAY_S, "computed_at": NOW_S}
    healthy.client.hset("km:totals", mapping=totals)
    detail, hint = warned("janitor")
    assert detail.endswith("2 d before they were counted, and no janitor was ever seen")
    assert hint == "start one: kmworker janitor"
    healthy.client.hset("km:janitor", mapping={"id": "j-1", "seen_at": NOW_S - 30})
    detail, hint = warned("janitor")
    assert "j-1 was last seen" in detail
    assert hint == "the janitor's log says what keeps it from that"
    healthy.client.hset("km:totals", "next_due", NOW_S + 3 * DAY_S)
    assert findings()["janitor"]["detail"] == "seen 30 s ago; key-ids due: 3, the first in 3 d"


PRODUCERS = """
[[producer]]
user = "cinder"
projects = "*"
types = "*"

[[producer]]
user = "operator"
replay = true
"""


def test_producers_are_counted(healthy: FilledStore, policy: Path) -> None:
    policy.write_text(policy.read_text() + PRODUCERS)
    found = findings()["producers"]
    assert (found["status"], found["detail"]) == ("ok", "2 producers, 1 of which may replay")


def test_producers_on_streams_are_a_failure_since_nobody_would_be_heard(
    healthy: FilledStore, policy: Path
) -> None:
    streams = {"broker__url": "redis://127.0.0.1:1"}
    found = findings(**streams)["producers"]
    assert (found["status"], found["hint"]) == ("ok", "")
    policy.write_text(policy.read_text() + PRODUCERS)
    found = findings(**streams)["producers"]
    assert found["status"] == "failed"
    assert found["hint"] == "use RabbitMQ, or leave [[producer]] out of the policy"


def test_a_policy_that_leaves_volume_types_unencrypted_is_a_warning(
    healthy: FilledStore, policy: Path
) -> None:
    head = policy.read_text().partition("[[default_encryption]]")[0]
    open_ended = '[[default_encryption]]\nvolume_type = "luks*"\ncipher = "aes-xts-plain64"\n'
    policy.write_text(head + open_ended)
    detail, hint = warned("policy")
    assert "a volume type that no default encryption names is not encrypted" in detail
    assert 'cipher = "refuse"' in hint
    closed = open_ended + '[[default_encryption]]\ncipher = "refuse"\n'
    policy.write_text(head + closed)
    assert findings()["policy"]["status"] == "ok"


def test_a_broker_without_an_anchor_is_said_to_be_one(
    healthy: FilledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeInspection, "anchors", False)
    found = findings()["permissions"]
    assert found["status"] == "ok"
    assert found["detail"].endswith("no anchor is kept (see config/rabbitmq/)")


def test_an_unreachable_broker_fails_once(
    healthy: FilledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KMWORKER_BROKER__URL", "amqp://away")
    assert failed() == {"broker": "no route to host"}
    assert not_checked() == ["queues", "permissions", "policies", "audit", "requests"]


def test_of_several_brokers_one_that_answers_is_enough(
    healthy: FilledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KMWORKER_BROKER__URL")
    code, shown, _ = said(run("doctor", broker__urls='["amqp://away", "amqp://u:secret@here/"]'))
    assert code == 0
    assert "warning        broker         no route to host\n" in shown
    assert "ok             broker         RabbitMQ 3.10.8 at amqp://u:***@here/\n" in shown
    assert "ok             permissions " in shown
    urls = '["amqp://away", "amqp://away2"]'
    assert failed(broker__urls=urls) == {"broker": "no route to host"}


@pytest.mark.parametrize(("version", "status"), [("3.13.7", "not checked"), ("4.0.5", "warning")])
def test_what_a_broker_throws_away_by_itself_is_said_where_policies_cannot_be_seen(
    healthy: FilledStore, monkeypatch: pytest.MonkeyPatch, version: str, status: str
) -> None:
    def fails(*_given: object) -> None:
        raise NotCounted("https://broker:15671 fails (500)")

    monkeypatch.setattr("kmworker.cli.doctor.broker.Management.governed", fails)
    monkeypatch.setattr(FakeInspection, "version", lambda _: version)
    look = "look: rabbitmqctl list_queues -p / name policy arguments"
    for settings, why, hint in (
        ({}, "not to be seen from here", "set broker.management_url, or "),
        (
            {"broker__management_url": "https://broker:15671"},
            "https://broker:15671 fails (500)",
            "try again, or ",
        ),
    ):
        assert failed(**settings) == {}
        found = findings(**settings)["policies"]
        assert (found["status"], found["detail"].partition(";")[0]) == (status, why)
        assert found["hint"].startswith(hint + look)
        assert ("came back 20 times" in found["detail"]) == (status == "warning")


@pytest.mark.parametrize(
    ("field", "value", "said", "hint"),
    [
        ("audit", None, "no kmworker.audit: nothing can be recorded", "definitions.json"),
        ("audit", (7, 0), "7 records on the way to the auditor, and none runs", "kmworker auditor"),
        ("audit", (1_000_000, 1), "half of what its queue takes", "has its disk room"),
        ("records", False, "user kmworker may not write kmworker.audit", "config/rabbitmq/"),
    ],
)
def test_what_keeps_records_out_of_the_audit_trail_is_a_warning(  # noqa: PLR0917
    healthy: FilledStore,
    monkeypatch: pytest.MonkeyPatch,
    field: str,
    value: object,
    said: str,
    hint: str,
) -> None:
    monkeypatch.setattr(FakeInspection, field, value)
    detail, advice = warned("audit")
    assert said in detail
    assert hint in advice


def test_records_that_an_auditor_takes_are_no_matter(
    healthy: FilledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeInspection, "audit", (999_999, 1))
    assert findings()["audit"]["status"] == "ok"


def test_requests_without_a_queue_or_a_key_server_are_said(
    healthy: FilledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert findings()["requests"]["detail"] == "0 requests for 1 key server"
    monkeypatch.setattr(FakeInspection, "requests", None)
    found = findings()["requests"]
    assert (found["status"], found["detail"]) == (
        "ok", "no kmworker.requests: no client can ask for a key",
    )  # fmt: skip
    monkeypatch.setattr(FakeInspection, "requests", (7, 0))
    detail, hint = warned("requests")
    assert detail == "7 requests for 0 key servers: they are lost after 30 s"
    assert hint == "start one: kmworker keyserver"


def test_key_servers_are_missed_once_clients_may_believe_them(healthy: FilledStore) -> None:
    assert findings()["keyservers"]["detail"] == "none is needed: no trust list is handed out"
    hand_out(healthy)
    detail, hint = warned("keyservers")
    assert detail == "none was seen today: no client gets a key"
    assert hint == "start one: kmworker keyserver"
    report_key_server(healthy, "k-gone", 20)
    report_key_server(healthy, "k-ended", 1, state="stopped")
    assert warned("keyservers")[0] == "none live of 2 seen today: no client gets a key"
    report_key_server(healthy, "k-1", delivered=1200, refused=3, waiting=1)
    report_key_server(healthy, "k-2", delivered=1)
    found = findings()["keyservers"]
    assert (found["status"], found["detail"]) == (
        "ok", "2 live of 4 seen today; delivered 1,201, refused 3, dropped 0, waiting 1",
    )  # fmt: skip
    report_key_server(healthy, "k-2", trouble="NotRecorded: the audit trail is full")
    report_key_server(healthy, "k-gone", 20, trouble="long ago")
    detail, hint = warned("keyservers")
    assert detail.endswith("; key server k-2: NotRecorded: the audit trail is full")
    assert "long ago" not in detail
    assert hint == "its log says more"


def test_a_trust_list_is_missed_before_it_ends(healthy: FilledStore) -> None:
    found = findings()["trust"]
    assert (found["status"], found["detail"]) == (
        "ok", "no list is handed out: no client gets a key",
    )  # fmt: skip
    hand_out(healthy, 31)
    found = findings()["trust"]
    assert (found["status"], found["detail"].partition(",")[0]) == ("ok", "list 7")
    hand_out(healthy, 12)
    detail, hint = warned("trust")
    assert detail.endswith(": it ends in 12 d: no client believes a key server then")
    assert hint == "kmworker trust sign, then kmworker trust publish"
    hand_out(healthy, -1)
    assert "clients believe no key server" in warned("trust")[0]


def test_a_trust_list_that_somebody_has_altered_is_a_failure(healthy: FilledStore) -> None:
    hand_out(healthy)
    record = healthy.client.hget("km:trust", "list")
    healthy.client.hset("km:trust", "list", record.replace(b'\\"number\\":7', b'\\"number\\":8'))
    assert list(failed()) == ["trust"]
    healthy.client.hset("km:trust", "list", "x")
    assert list(failed()) == ["trust"]


def test_streams_are_a_broker_without_queues_of_their_own(
    healthy: FilledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = "kmworker.cli.doctor.broker.connect_to"
    monkeypatch.setattr(connect, lambda _url, _timeout: healthy.client)
    found = findings(broker__url="redis://127.0.0.1")
    assert found["broker"]["detail"] == "streams in Redis 7.0.15 at redis://127.0.0.1"
    of_amqp = {"queues", "permissions", "policies", "audit", "requests"}
    assert list(found) == [it for it in ALL_NAMES if it not in of_amqp]


def hang(store: FilledStore) -> None:
    worker = {"host": "elsewhere", "pid": 1, "state": "running", "busy_since": NOW_S - 74.5}
    store.client.zadd("km:workers", {"w1": NOW_S})
    store.client.hset("km:worker:w1", mapping=worker)


def get_another_keyring(store: FilledStore) -> None:
    store.keyring.unlink()
    run("keyring", "init")


# What is done to the store, which check fails over it, and what that says.
FAULTS: list[tuple[Callable[[FilledStore], object], str, str]] = [
    (lambda it: it.client.hset("km:commits", "incident", "abc"),
     "history", "incident abc: the store was rolled back"),
    # Before a worker has named it.
    (lambda it: it.client.hincrby("km:commits", "number", 9),
     "history", r"of \d+ commits it has \d+: records are lost"),
    (lambda it: it.client.hset("km:commits", "number", "many"),
     "history", "km:commits does not hold a number of commits any more"),
    (hang, "workers", "w1 is stuck: it has had events at hand for 75 s and finishes none"),
    (lambda it: vars(it.client).update(info=lambda _section: {"redis_version": "6.2.1"}),
     "store", "Redis 6.2.1 is too old"),
    (lambda it: it.client.delete("km:keyring"),
     "records", "the store has records, but km:keyring is missing"),
    (get_another_keyring,
     "records", r"the store's records are under KEK \w+, which this keyring lacks"),
    (lambda it: it.client.hset("km:keyring", f"check:{it.custody.kek_id}", "0" * 64),
     "records", ".*km:keyring has been altered.*"),
]  # fmt: skip


@pytest.mark.parametrize(("harm", "check", "said"), FAULTS, ids=[it[2] for it in FAULTS])
def test_what_is_wrong_with_a_store_is_one_failure(
    healthy: FilledStore, harm: Callable[[FilledStore], object], check: str, said: str
) -> None:
    harm(healthy)
    ((name, detail),) = failed().items()
    assert (name, bool(re.fullmatch(said, detail))) == (check, True), detail


def test_what_keeps_a_worker_from_some_of_its_work_is_a_warning(healthy: FilledStore) -> None:
    healthy.client.zadd("km:workers", {"w1": NOW_S, "gone": NOW_S - 100})
    worker = {"host": "blk01", "state": "running", "trouble": "kmworker.assignments: no room"}
    healthy.client.hset("km:worker:w1", mapping={**worker, "clock_ahead_s": "-30"})
    healthy.client.hset("km:worker:gone", mapping={**worker, "trouble": "long ago"})
    detail, hint = warned("workers")
    assert detail.split("; ") == [
        "1 worker making progress or idle",
        "kmworker.assignments: no room",
        "the clock of blk01 is 30 s behind the store's",
    ]
    assert "docs/operations.md" in hint


def test_a_project_near_its_bound_is_named_and_is_no_failure(healthy: FilledStore) -> None:
    crowd = '{"events":9,"bytes":900,"events_max":10,"bytes_max":1000000}'
    healthy.client.hset("km:crowded", "acme acme", crowd)
    result = run("doctor")
    assert result.exit_code == 0
    assert "near its bound: project acme 90% (9 events of 10)" in result.stdout


def test_nothing_is_written_to_the_store(healthy: FilledStore) -> None:
    before = healthy.dump()
    run("doctor")
    assert healthy.dump() == before


def test_a_new_store_is_no_failure_and_stays_new(healthy: FilledStore) -> None:
    healthy.client.flushall()
    assert findings()["records"]["detail"] == "none yet: the first worker enters its keyring"
    assert not healthy.client.keys()


def test_a_valkey_is_named_as_such(healthy: FilledStore) -> None:
    healthy.client.info = lambda _section: {
        "server_name": "valkey", "redis_version": "7.2.4", "valkey_version": "9.1.2",
    }  # fmt: skip
    assert findings()["store"]["detail"].startswith("Valkey 9.1.2 at ")


def test_a_volatile_store_fails_unless_it_is_allowed(healthy: FilledStore) -> None:
    healthy.client.config_get = lambda *_names: {**DURABLE, "appendfsync": "everysec"}
    assert "appendfsync is everysec, not always" in failed()["durability"]
    found = findings(store__allow_volatile="true")["durability"]
    assert found["status"] == "ok"
    assert found["detail"].startswith("allowed by store.allow_volatile: ")


def test_unread_replies_without_a_bound_are_a_warning(healthy: FilledStore) -> None:
    open_ = {"client-output-buffer-limit": "normal 0 0 0 slave 1 1 60", "maxmemory-clients": "0"}
    healthy.client.config_get = lambda *_names: {**DURABLE, **open_}
    detail, hint = warned("clients")
    assert "client-output-buffer-limit normal 0 0 0, maxmemory-clients 0" in detail
    assert "kmworker.conf" in hint
    healthy.client.config_get = lambda *_names: {}
    assert findings()["clients"]["status"] == "not checked"


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


def test_a_janitors_keyring_file_that_is_not_taken_up_is_a_warning(healthy: FilledStore) -> None:
    trouble = {"keyring_trouble": "unusable", "keyring_trouble_since": NOW_S - 60}
    healthy.client.hset("km:janitor", mapping={"id": "j-1", "seen_at": NOW_S - 30, **trouble})
    detail, hint = warned("janitor")
    assert detail.startswith("janitor j-1 has not taken up its keyring file since 20")
    assert "docs/operations.md" in hint


def test_a_kek_under_which_all_is_is_no_matter(healthy: FilledStore) -> None:
    kek_id = healthy.custody.kek_id
    found = findings()["keks"]
    assert found["status"] == "ok"
    assert found["detail"] == "active for 0 of 400 d; no worker has counted what is under it"
    totals = {f"records:{kek_id}": 9, f"deks:{kek_id}": 2, "keks_counted_at": NOW_S - 60}
    healthy.client.hset("km:totals", mapping=totals)
    detail = findings()["keks"]["detail"]
    assert detail == "active for 0 of 400 d; all 9 records under it (counted 60 s ago)"


def test_what_is_to_be_done_about_keks_is_one_warning(healthy: FilledStore) -> None:
    totals = {f"wraps:{healthy.custody.kek_id}": 2**31, "records:unknown": 1,
              "projects:unknown": 1, "keks_counted_at": NOW_S}  # fmt: skip
    healthy.client.hset("km:totals", mapping=totals)
    Keyring.grow(healthy.keyring)
    detail, hint = warned("keks")
    assert len(detail.split("; ")) == 3
    assert "2,147,483,648 wraps" in detail
    assert "1 record and 0 DEKs in 1 project under KEKs that the store does not know" in detail
    assert "of the file is not known to the store" in detail
    assert hint.split("; ") == [
        'turn it over: docs/operations.md, "Turning a KEK over"',
        "kmworker verify names them",
        "kmworker keyring add",
    ]


def test_an_old_kek_is_a_warning_by_the_setting(healthy: FilledStore) -> None:
    states = keks_named(healthy.client.hget("km:keyring", "states"))
    began = unix_s(states[healthy.custody.kek_id].at)
    healthy.client.time = lambda: (int(began + 31 * DAY_S), 0)
    assert findings(keyring__max_age_days="32")["keks"]["status"] == "ok"
    found = findings(keyring__max_age_days="30")["keks"]
    assert found["status"] == "warning"
    assert found["detail"].endswith("is active for 31 d, of 30 (keyring.max_age_days)")


def test_where_nobody_has_counted_all_wraps_may_be_one_projects(healthy: FilledStore) -> None:
    healthy.client.hset("km:wraps", healthy.custody.kek_id, 2**31)
    detail, _hint = warned("keks")
    assert "2,147,483,648 wraps" in detail


@pytest.mark.parametrize("is_hash", [True, False])
def test_a_count_of_wraps_that_somebody_wrote_over_is_told(
    healthy: FilledStore, *, is_hash: bool
) -> None:
    if is_hash:
        healthy.client.hset("km:wraps", healthy.custody.kek_id, "text")
    else:
        healthy.client.delete("km:wraps")
        healthy.client.set("km:wraps", "text")
    detail, hint = warned("keks")
    assert detail == f"km:wraps does not say how much KEK {healthy.custody.kek_id} has wrapped"
    assert hint == "find out who wrote there, and turn that KEK over"
