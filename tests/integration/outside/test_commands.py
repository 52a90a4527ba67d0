"""The commands, by what the contract says of their effects and exit codes."""

import json
import socket
from contextlib import closing
from dataclasses import replace
from uuid import uuid4

import pytest

from tests.integration.outside.conftest import NewSite, Running, StartStore
from tests.integration.outside.test_stories import born
from tests.kit.outside.check_keys import exported
from tests.kit.outside.client import Client
from tests.kit.outside.heard import Delivery
from tests.kit.outside.stage import performed
from tests.kit.outside.wire import plain
from tests.kit.outside.words import Event, Item
from tests.kit.outside.worker import Site, Worker, working
from tests.kit.polling import until
from tests.kit.servers import At
from tests.kit.servers.ports import free_port

VOLATILE = {
    "no-log": {"appendonly": "no"},
    "a-log-a-second-late": {"appendfsync": "everysec"},
    "eviction": {"maxmemory": "64mb", "maxmemory-policy": "allkeys-lru"},
}


def family(project: str) -> list[Event]:
    volume = born(Item(project, "volume", "v"))
    snapshot = born(Item(project, "snapshot", "s"), volume.item)
    return [volume, snapshot, born(Item(project, "volume", "w"), snapshot.item)]


def refused(site: Site) -> None:
    """Start a worker that must refuse to work."""
    worker = Worker(site)
    try:
        assert worker.ended() == 2, worker.tail()
    finally:
        worker.kill()


def test_clones_and_reuses_have_one_dek_and_creates_another(patient: Running, project: str) -> None:
    stranger = born(Item(project, "volume", "stranger"))
    with performed(patient.site, [*family(project), stranger]) as played:
        deks = {
            item.id: exported(patient.site, project, data["key_id"])[0]
            for item, data in played.announced.items()
        }
    assert deks["v"] == deks["s"] == deks["w"] != deks["stranger"]
    assert len(deks["v"]) == 64


def test_an_export_overwrites_nothing(patient: Running, project: str) -> None:
    path = patient.site.folder / f"kept-{uuid4().hex}"
    path.write_text("kept")
    with performed(patient.site, family(project)[:1]) as played:
        (data,) = played.announced.values()
    done = patient.site.run(
        *("key", "export", data["key_id"], "--project", project, "--output", str(path)),
        exit_code=None,
    )
    assert done.returncode in {1, 2}
    assert path.read_text() == "kept"


def test_an_unknown_key_cannot_be_exported(patient: Running, project: str) -> None:
    path = patient.site.folder / f"none-{uuid4().hex}"
    key = ("key", "export", str(uuid4()), "--project", project, "--output", str(path))
    patient.site.run(*key, exit_code=1)
    assert not path.exists()


def test_an_assignment_that_nobody_hears_is_on_record_and_announced_later(
    new_site: NewSite, project: str
) -> None:
    site = new_site()
    with working(site), site.connected() as client:
        client.publish(plain(family(project)[0]))
        reader = site.reader
        record = until(lambda: reader.records(project, "items").get("volume:v"), "it is recorded")
        until(lambda: client.ready("events.work") == 0, "it is taken")
        client.subscribe()
        site.run("announce", "--project", project)
        until(lambda: client.assignments, "it is announced", between=client.pump)
        assert client.assignments[0].parsed()["data"] == record["data"]
        assert not client.letters


def test_show_finds_items_keys_and_scopes(patient: Running, project: str) -> None:
    with performed(patient.site, family(project)) as played:
        data = played.announced[Item(project, "snapshot", "s")]
    for name in ("snapshot:s", data["key_id"], data["scope_id"]):
        done = patient.site.run("show", name, "--project", project, "--json")
        assert json.loads(done.stdout)
        assert data["scope_id"] in done.stdout
    patient.site.run("show", "volume:nobody", "--project", project, exit_code=1)


def test_a_dead_letter_can_be_seen_and_thrown_away(patient: Running, project: str) -> None:
    volume, snapshot, _ = family(project)
    # Somewhere else than where it is from.
    contradiction = replace(born(volume.item, snapshot.item), event_id=f"lie-{project}")
    site = patient.site
    with performed(site, [volume, snapshot]) as played:
        played.client.publish(plain(contradiction))
        until(lambda: played.client.letters, "it is refused", between=played.client.pump)
        (letter,) = played.client.letters
    names = [contradiction.event_id, str(letter.properties.message_id)]
    listed = [it for it in json.loads(site.run("dead", "list", "--json").stdout)
              if it["event_id"] == names[0]]  # fmt: skip
    assert len(listed) == 1
    for choice in (["--reason", "conflict"], ["--type", "volume-created"], ["--since", "1h"]):
        assert names[0] in site.run("dead", "list", *choice).stdout
    for choice in (["--reason", "internal"], ["--type", "snapshot-taken"], ["--before", "1h"]):
        assert names[0] not in site.run("dead", "list", *choice).stdout
    for name in names:
        assert plain(contradiction).body.decode() in site.run("dead", "show", name).stdout
    site.run("dead", "discard", names[0], "--dry-run")
    site.run("dead", "discard", names[1])
    for name in names:
        site.run("dead", "show", name, exit_code=1)
        site.run("dead", "discard", name, exit_code=1)
        site.run("dead", "replay", name, exit_code=1)


def test_a_replayed_event_dies_again_and_counts_or_is_assigned(
    hasty: Running, project: str
) -> None:
    volume, snapshot, _ = family(project)
    # Others' letters lie in the same queue, and a replay is of all that bear an id.
    snapshot = replace(snapshot, event_id=f"orphan-{project}")
    site = hasty.site

    def refused(client: Client) -> list[Delivery]:
        # Others' events may expire here, too.
        of = "x-kmworker-event-id"
        return [it for it in client.letters if it.headers.get(of) == snapshot.event_id]

    with site.client() as client:
        client.publish(plain(snapshot))
        until(lambda: len(refused(client)) == 1, "it is refused", between=client.pump)
        site.run("dead", "replay", snapshot.event_id, "--dry-run")
        site.run("dead", "replay", snapshot.event_id)
        until(lambda: len(refused(client)) == 2, "it is refused again", between=client.pump)
        first, again = refused(client)
        assert (again.body, again.routing_key) == (first.body, first.routing_key)
        assert again.properties.message_id == first.properties.message_id
        counts = [int(letter.headers["x-kmworker-attempts"]) for letter in (first, again)]
        assert counts[1] > counts[0]
        client.publish(plain(volume))
        subjects = volume.item.subject, snapshot.item.subject
        until(lambda: subjects[0] in client.announced(), "the source is", between=client.pump)
        site.run("dead", "replay", snapshot.event_id)
        until(lambda: subjects[1] in client.announced(), "both are", between=client.pump)
        told = client.announced()[snapshot.item.subject][0].parsed()["data"]
        assert told["cause"]["id"] == snapshot.event_id
    site.run("dead", "show", snapshot.event_id, exit_code=1)


def test_a_waiting_event_can_be_seen_and_let_expire(patient: Running, project: str) -> None:
    _, snapshot, _ = family(project)
    site, reader = patient.site, patient.site.reader
    with site.client() as client:
        client.publish(plain(snapshot))
        until(lambda: reader.records(project, "waiting"), "it waits", between=client.pump)
        (before,) = reader.records(project, "waiting").values()
        (listed,) = json.loads(site.run("waiting", "list", "--project", project, "--json").stdout)
        assert {name: listed[name] for name in before} == before
        assert site.run("waiting", "list", "--older-than", "1d", "--json").stdout == "[]\n"
        expire = ("waiting", "expire", "--project", project)
        site.run(*expire, "volume:nobody", exit_code=1)
        site.run(*expire, "snapshot:s", "--dry-run")
        assert list(reader.records(project, "waiting").values()) == [before]
        site.run(*expire, "snapshot:s")
        until(lambda: client.letters, "it is refused", between=client.pump)
        (letter,) = client.letters
        assert letter.headers["x-kmworker-reason"] == "source-missing"
        until(lambda: not reader.table(project, "waiting"), "it has left")
        assert not reader.sorted_in(project, "waiting:deadlines")
    site.run(*expire, "snapshot:s", exit_code=1)


def test_a_record_that_was_tampered_with_is_not_announced(new_site: NewSite, project: str) -> None:
    site = new_site()
    volume, _, clone = family(project)
    stranger = born(Item(project, "volume", "stranger"))
    with working(site), performed(site, [*family(project), stranger]) as played:
        items = f"{site.prefix}:{{{project}}}:items"
        record = played.reader.table(project, "items")[stranger.item.ref]
        own, other = (played.announced[item.item]["key_id"] for item in (stranger, clone))
        played.reader.admin.hset(items, stranger.item.ref, record.replace(own, other))
        # Whoever asks for it is not told the other volume's key, either.
        played.client.publish(plain(replace(stranger, event_id="again")))
        played.client.publish(plain(volume))
        heard = played.client
        until(lambda: heard.letters, "someone is woken", between=heard.pump)
        assert heard.letters[0].headers["x-kmworker-reason"] == "integrity"


@pytest.mark.parametrize("options", VOLATILE.values(), ids=VOLATILE)
def test_a_store_that_could_lose_keys_is_refused(
    new_site: NewSite, start_redis: StartStore, options: dict[str, str]
) -> None:
    refused(replace(new_site(), store=start_redis(options)))


def test_a_volatile_store_is_taken_where_that_is_allowed(
    new_site: NewSite, start_redis: StartStore
) -> None:
    site = new_site(KMWORKER_STORE__ALLOW_VOLATILE="true")
    with working(replace(site, store=start_redis(VOLATILE["no-log"]))):
        pass


def test_a_worker_without_its_keyring_does_not_start(new_site: NewSite) -> None:
    refused(replace(new_site(), settings={"KMWORKER_KEYRING__PATH": "nowhere"}))


def test_a_worker_with_another_keyring_does_not_start(new_site: NewSite, project: str) -> None:
    site = new_site()
    with working(site), performed(site, family(project)):
        pass
    other = site.folder / "other"
    other.mkdir()
    stranger = replace(site, folder=other)
    stranger.run("keyring", "init")
    refused(stranger)


def test_a_setting_with_a_wrong_value_is_refused(new_site: NewSite) -> None:
    refused(replace(new_site(), settings={"KMWORKER_WORKER__BATCH_MAX": "many"}))


def test_a_setting_nobody_knows_is_refused(new_site: NewSite) -> None:
    site = new_site()
    path = site.folder / "kmworker.toml"
    path.write_text("[worker]\nbatch_minimum = 7\n")
    refused(replace(site, settings={"KMWORKER_CONFIG": str(path)}))


def test_a_worker_waits_for_its_broker_and_can_be_stopped_meanwhile(new_site: NewSite) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as deaf:
        port = deaf.getsockname()[1]
        worker = Worker(replace(new_site(), broker=At(f"amqp://worker:word@127.0.0.1:{port}/")))
        try:
            # It comes, is turned away, and comes again.
            for _ in range(2):
                deaf.settimeout(60)
                deaf.accept()[0].close()
            worker.stop()
        finally:
            worker.kill()


@pytest.mark.parametrize(
    "command",
    ["status", "show volume:v", "announce --project p", "waiting list",
     "waiting expire --project p volume:v"],
)  # fmt: skip
def test_commands_do_not_wait_for_a_store_that_is_not_there(
    new_site: NewSite, command: str
) -> None:
    site = replace(new_site(), store=At(f"redis://127.0.0.1:{free_port()}/0"))
    site.run(*command.split(), exit_code=3)


@pytest.mark.parametrize("command", ["dead list", "dead show e", "dead replay e"])
def test_commands_do_not_wait_for_a_broker_that_is_not_there(
    new_site: NewSite, command: str
) -> None:
    site = replace(new_site(), broker=At(f"amqp://operator:word@127.0.0.1:{free_port()}/"))
    site.run(*command.split(), exit_code=3)


@pytest.mark.parametrize(
    "command",
    ["publish", "key export --project p", "show", "no-such-command", "worker --no-such-option",
     "dead", "dead show", "dead discard", "waiting expire --project p", "waiting list --limit 0"],
)  # fmt: skip
def test_wrong_usage_ends_with_2(patient: Running, command: str) -> None:
    patient.site.run(*command.split(), exit_code=2)
