"""Records from their writers into files, on a real broker with the shipped accounts."""

import resource
import threading
import time
from pathlib import Path

import pytest

from kmworker.audit.checkpoints import read_checkpoints
from kmworker.bus.amqp.link import Link
from kmworker.bus.audit_trail import MAX_UNCONFIRMED, RabbitAuditTrail
from kmworker.errors import NotRecorded
from kmworker.settings import BrokerSettings
from tests.integration.audit.conftest import Auditor, NewTrail, auditor_on, record
from tests.kit.polling import until
from tests.kit.servers import ADMIN, RabbitMQ, Start

KILLS = 6
SLACK_BYTES = 300  # Less than one line, so that no record fits, however they come.


def test_records_reach_the_trail_in_order_with_who_published_them(
    auditor: Auditor, new_trail: NewTrail
) -> None:
    auditor.start()
    trail = new_trail()
    pending = [trail.record([record(it)]) for it in range(100)]
    for it in pending:
        it.result()
    trail.record([record(it) for it in range(100, 150)]).result()
    auditor.has(150)
    assert auditor.requests() == [f"request-{it}" for it in range(150)]
    assert trail.unconfirmed == 0
    assert auditor.stop() == 0
    found = auditor.verified()
    assert found.is_good
    assert found.signed is not None
    assert found.tip.number - found.signed.line == 1


def test_checkpoints_reach_whoever_has_a_queue_for_them(
    auditor: Auditor, new_trail: NewTrail, rabbitmq: RabbitMQ, namespace: str
) -> None:
    with rabbitmq.admin(namespace) as admin:
        channel = admin.channel()
        queue = channel.queue_declare(exclusive=True).queue
        channel.queue_bind(queue, f"{namespace}.audit", "checkpoint")
        auditor.start()
        new_trail().record([record(it) for it in range(60)]).result()
        got = until(lambda: channel.basic_get(queue, no_ack=True), "a checkpoint comes")
    (kept,) = read_checkpoints([bytes(got.body)])
    auditor.has(60)
    logged = [line for line in auditor.said().splitlines() if '"event": "checkpoint"' in line]
    assert read_checkpoints([logged[0].encode()]) == [kept]
    assert auditor.stop() == 0
    (path,) = auditor.directory.glob("*.jsonl")
    # The last lines are cut off: only a checkpoint from elsewhere shows it.
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(whole[:20]))
    assert "lines 1 to 20" in auditor.site.run("audit", "verify").stdout
    elsewhere = auditor.site.folder / "elsewhere.jsonl"
    elsewhere.write_text(logged[0])
    done = auditor.site.run("audit", "verify", "--checkpoint", str(elsewhere), exit_code=1)
    assert "line 21 cut off" in done.stdout


def test_an_auditor_that_is_killed_again_and_again_keeps_each_record_once(
    auditor: Auditor, new_trail: NewTrail
) -> None:
    trail = new_trail()
    ends = threading.Event()
    written = 0

    def write() -> None:
        nonlocal written
        # No more than that: each look at the trail reads all of it.
        while not ends.wait(0.1):
            trail.record([record(written + it) for it in range(20)]).result()
            written += 20

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for kill in range(KILLS):
            auditor.start()
            before = auditor._count()
            until(lambda before=before: auditor._count() > before, "it goes on")  # type: ignore[misc]
            time.sleep(0.05 * kill)
            auditor.kill()
    finally:
        ends.set()
        writer.join()
    auditor.start()
    # It runs once it has these: a signal before that is not its own to handle.
    trail.record([record(written + it) for it in range(20)]).result()
    auditor.has(written + 20)
    assert auditor.stop() == 0
    assert auditor.verified().is_good


def test_a_full_queue_refuses_and_what_was_refused_keeps_its_number(
    auditor: Auditor, new_trail: NewTrail, rabbitmq: RabbitMQ, namespace: str
) -> None:
    trail = new_trail()
    limits = {"delivery-limit": 1_000_000_000, "overflow": "reject-publish", "max-length": 5}
    sent = 0
    with rabbitmq.policy(namespace, ".*", limits, priority=500):

        def is_refused() -> bool:
            nonlocal sent
            sent += 1
            return not _recorded(trail, sent - 1)

        until(is_refused, "the queue is full")
        for _ in range(3):
            is_refused()
        sent += 1
        with pytest.raises(NotRecorded, match="its queue is full, or not there"):
            trail.record([record(sent - 1)]).result()
        assert trail.unconfirmed > 0
    auditor.start()
    until(lambda: _all_sent(trail), "all are sent again")
    trail.record([record(sent)]).result()
    auditor.has(sent + 1)
    assert auditor.stop() == 0
    found = auditor.verified()
    assert found.is_good
    assert found.awaited == []


def test_without_a_queue_nothing_is_recorded(
    new_trail: NewTrail, rabbitmq: RabbitMQ, namespace: str
) -> None:
    trail = new_trail()
    with rabbitmq.admin(namespace) as admin:
        admin.channel().queue_delete(f"{namespace}.audit")
    with pytest.raises(NotRecorded):
        trail.record([record(0)]).result()
    rabbitmq.define(namespace)
    trail.tick()
    until(lambda: _all_sent(trail), "all are sent again")


def test_whoever_may_declare_finds_nothing_missing(
    auditor: Auditor, new_trail: NewTrail, rabbitmq: RabbitMQ, namespace: str
) -> None:
    rabbitmq.define(namespace, names=False)
    trail = new_trail(url=rabbitmq.url_of(ADMIN, namespace))
    trail.record([record(0)]).result()
    auditor.start()
    auditor.has(1)


def test_a_name_that_is_something_else_records_nothing_until_it_is_put_right(
    new_trail: NewTrail, rabbitmq: RabbitMQ, namespace: str
) -> None:
    trail = new_trail(url=rabbitmq.url_of(ADMIN, namespace))
    with rabbitmq.admin(namespace) as admin:
        channel = admin.channel()
        channel.queue_delete(f"{namespace}.audit")
        channel.queue_declare(f"{namespace}.audit", durable=True, auto_delete=False)
        for _ in range(2):
            with pytest.raises(NotRecorded, match="as something else"):
                trail.record([record(0)])
        channel.queue_delete(f"{namespace}.audit")
    trail.record([record(0)]).result()


def test_a_broker_that_is_away_gives_nothing_a_number(new_trail: NewTrail) -> None:
    trail = new_trail(url="amqp://worker:secret@127.0.0.1:1/none")
    with pytest.raises(NotRecorded):
        trail.record([record(0)])
    assert trail.unconfirmed == 0


def test_what_waits_is_bounded(new_trail: NewTrail, rabbitmq: RabbitMQ, namespace: str) -> None:
    trail = new_trail()
    with rabbitmq.admin(namespace) as admin:
        admin.channel().queue_delete(f"{namespace}.audit")
    for at in range(0, MAX_UNCONFIRMED, 1024):
        with pytest.raises(NotRecorded):
            trail.record([record(at + it) for it in range(1024)]).result()
    with pytest.raises(NotRecorded, match="4,096 records wait"):
        trail.record([record(5000)])
    assert trail.unconfirmed == MAX_UNCONFIRMED
    rabbitmq.define(namespace)
    until(lambda: _all_sent(trail), "all are sent again")


def test_a_connection_that_is_lost_costs_no_number(
    auditor: Auditor, new_trail: NewTrail, rabbitmq: RabbitMQ
) -> None:
    auditor.start()
    trail = new_trail()
    for number in range(60):
        if number % 7 == 3:
            _cut(trail._link)
        try:
            trail.record([record(number)]).result()
        except NotRecorded:
            # It has its number, and goes with the next.
            continue
    until(lambda: _all_sent(trail), "all are sent again")
    auditor.has(60)
    assert auditor.stop() == 0
    assert auditor.verified().is_good
    assert auditor.verified().awaited == []


def _cut(link: Link) -> None:
    if link.connection is not None:
        link.connection.transport.sock.close()


def test_a_broker_that_restarts_loses_nothing_that_it_confirmed(
    start_rabbitmq: Start[RabbitMQ], namespace: str, tmp_path: Path
) -> None:
    broker = start_rabbitmq()
    auditor = auditor_on(broker, namespace, tmp_path)
    url = broker.url_of("worker", namespace)
    settings = BrokerSettings(url=url, namespace=namespace, confirm_timeout_s=5)
    trail = RabbitAuditTrail(settings, "worker")
    try:
        trail.record([record(it) for it in range(300)]).result()
        auditor.start()
        until(lambda: auditor._count() > 0, "it has begun")
        until(lambda: broker.has_registered(f"{namespace}.audit"), "the queue is on disk")
        broker.kill()
        with pytest.raises(NotRecorded):
            trail.record([record(300)]).result()
        broker.start()
        until(lambda: _recorded(trail, 301), "the broker is back")
        until(lambda: _all_sent(trail), "all are sent again")
        until(lambda: {"request-299", "request-301"} <= set(auditor.requests()), "all are there")
        assert auditor.stop() == 0
        found = auditor.requests()
        assert len(found) == len(set(found))
        assert auditor.verified().is_good
    finally:
        trail.close()
        auditor.close()


def _all_sent(trail: RabbitAuditTrail) -> bool:
    trail.tick()
    return not trail.unconfirmed


def _recorded(trail: RabbitAuditTrail, number: int) -> bool:
    try:
        trail.record([record(number)]).result()
    except NotRecorded:
        return False
    return True


def test_a_full_disk_is_said_and_waited_for(auditor: Auditor, new_trail: NewTrail) -> None:
    trail = new_trail()
    trail.record([record(0)]).result()
    auditor.start()
    auditor.has(1)
    assert auditor.process is not None
    (path,) = auditor.directory.glob("*.jsonl")
    # No file of its process may become larger: its writes fail as those to a full disk do.
    limits = (path.stat().st_size + SLACK_BYTES, resource.RLIM_INFINITY)
    resource.prlimit(auditor.process.pid, resource.RLIMIT_FSIZE, limits)
    trail.record([record(it) for it in range(1, 40)]).result()
    until(lambda: "has no room" in auditor.said(), "it says so")
    assert auditor.requests() == ["request-0"]
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.prlimit(auditor.process.pid, resource.RLIMIT_FSIZE, unlimited)
    auditor.has(40)
    assert auditor.stop() == 0
    assert auditor.verified().is_good
    assert auditor.said().count("has no room") == 1


def test_a_second_auditor_is_refused_on_the_folder_and_waits_on_the_queue(
    auditor: Auditor, new_trail: NewTrail, rabbitmq: RabbitMQ, namespace: str, tmp_path: Path
) -> None:
    auditor.start()
    new_trail().record([record(0)]).result()
    auditor.has(1)
    done = auditor.site.run("auditor", exit_code=2)
    assert "another auditor writes to" in done.stderr
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    second = auditor_on(rabbitmq, namespace, elsewhere)
    second.start()
    try:
        until(lambda: "another auditor consumes" in second.said(), "it waits")
        assert auditor.stop() == 0
        new_trail().record([record(0)]).result()
        second.has(1)
    finally:
        second.close()
