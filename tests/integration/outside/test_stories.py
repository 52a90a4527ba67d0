"""Small stories with one point each, on an installation that is shared with others."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.integration.outside.conftest import Running
from tests.kit.outside.client import Client, Delivery
from tests.kit.outside.history import history
from tests.kit.outside.reader import Reader
from tests.kit.outside.stage import performed, scene, send, settle
from tests.kit.outside.wire import plain
from tests.kit.outside.words import Ask, Event, Item
from tests.kit.polling import none_of, until, until_none


def born(item: Item, source: Item | None = None) -> Event:
    return Event(item, f"birth of {item.kind}", "/stories", source)


def member(project: str, name: str, partition: str = "policy-0/18/4711") -> Event:
    source = Item(project, "partition", partition)
    replica = Item(project, "replica", f"{partition}@{name}")
    return Event(replica, f"added {name}", "/swift/ring-builder", source, node=name)


def chain(project: str, length: int) -> Iterator[Event]:
    """A volume, a snapshot of it, a volume from that, and so on."""
    source: Item | None = None
    for step in range(length):
        item = Item(project, "snapshot" if step % 2 else "volume", f"step-{step}")
        yield born(item, source)
        source = item


def test_a_chain_in_reverse_is_assigned_from_its_root(patient: Running, project: str) -> None:
    with performed(patient.site, [*chain(project, 40)][::-1]) as played:
        keys = {data["key_id"] for data in played.announced.values()}
        assert len({data["scope_id"] for data in played.announced.values()}) == 1
        assert len(keys) == 20


def test_a_source_in_another_project_is_waited_for(patient: Running, project: str) -> None:
    source = Item(f"{project}.source", "snapshot", "s")
    volume = Item(source.project, "volume", "v")
    abroad = born(Item(project, "volume", "v"), source)
    with performed(patient.site, [abroad, born(source, volume), born(volume)]) as played:
        assert played.announced[abroad.item]["rule"] == "guard:cross-project"


def test_an_unencrypted_source_in_another_project_is_encrypted_here(
    patient: Running, project: str
) -> None:
    bare = replace(born(Item(f"{project}.source", "volume", "v")), encryption=None)
    here = born(Item(project, "volume", "v"), bare.item)
    with performed(patient.site, [bare, here]) as played:
        assert played.announced[here.item]["data_action"] == "encrypt"


def test_volumes_snapshots_and_replicas_that_are_not_encrypted_are_announced_without_a_key(
    patient: Running, project: str
) -> None:
    bare = replace(born(Item(project, "volume", "v")), encryption=None)
    snapshot = born(Item(project, "snapshot", "s"), bare.item)
    replica = replace(born(Item(project, "replica", "r"), snapshot.item), node="n1")
    with performed(patient.site, [bare, snapshot, replica], [bare, replica]) as played:
        assert [data["key_id"] for data in played.announced.values()] == [None] * 3


def test_an_item_that_brings_its_own_encryption_is_encrypted(
    patient: Running, project: str
) -> None:
    bare = replace(born(Item(project, "volume", "v")), encryption=None)
    own = replace(born(Item(project, "volume", "w"), bare.item), encryption=Ask("aes-xts-plain64"))
    with performed(patient.site, [bare, own]) as played:
        assert played.announced[own.item]["data_action"] == "encrypt"


def test_a_partition_comes_with_its_first_replica(patient: Running, project: str) -> None:
    first = member(project, "obj-01")
    with performed(patient.site, [first], [first]) as played:
        assert len(played.announced) == 2
        assert len({data["key_id"] for data in played.announced.values()}) == 1


def test_replicas_of_a_partition_share_its_key_whatever_the_transport(
    patient: Running, project: str
) -> None:
    members = [
        replace(member(project, f"obj-{at:02}"), transport=transport)
        for at, transport in enumerate((None, "file", "block", "reencrypt"))
    ]
    with performed(patient.site, members) as played:
        assert len({data["key_id"] for data in played.announced.values()}) == 1


def test_an_unencrypted_partition_has_no_key(patient: Running, project: str) -> None:
    bare = replace(member(project, "obj-01"), encryption=None)
    with performed(patient.site, [bare]) as played:
        assert [data["key_id"] for data in played.announced.values()] == [None] * 2


def test_a_contradicted_replica_brings_no_other_partition(patient: Running, project: str) -> None:
    first = member(project, "obj-01")
    liar = replace(first, event_id="liar", source=Item(project, "partition", "policy-0/1"))
    with performed(patient.site, [first], [liar]) as played:
        assert "partition:policy-0/1" not in played.reader.table(project, "items")


def test_a_replica_that_asks_for_another_cipher_than_its_partition_gets_a_key_of_its_own(
    patient: Running, project: str
) -> None:
    first = member(project, "obj-01")
    other = replace(member(project, "obj-02"), encryption=Ask("aes-cbc-essiv:sha256", 256))
    with performed(patient.site, [first], [other]) as played:
        assert played.announced[other.item]["rule"] == "guard:encryption-differs"


def test_a_second_event_that_says_nothing_else_repeats_the_first_answer(
    patient: Running, project: str
) -> None:
    volume = born(Item(project, "volume", "v"))
    again = replace(volume, event_id="again", encryption=Ask("aes-xts-plain64"), requested="clone")
    itself = replace(volume, encryption=None)
    with performed(patient.site, [volume], [again, itself, volume]) as played:
        heard = played.client.announced()[volume.item.subject]
        assert len({delivery.body for delivery in heard}) == 1


def test_a_second_event_that_says_otherwise_is_a_conflict_that_names_both_values(
    patient: Running, project: str
) -> None:
    volume = born(Item(project, "volume", "v"))
    replica = replace(born(Item(project, "replica", "r"), volume.item), node="obj-07")
    others = [
        replace(volume, event_id="shorter", encryption=Ask("aes-xts-plain64", 256)),
        replace(volume, event_id="unencrypted", encryption=None),
        replace(replica, event_id="moved", node="obj-12"),
    ]
    with performed(patient.site, [volume, replica], others) as played:
        details = [letter.headers["x-kmworker-detail"] for letter in played.client.letters]
        values = (("512 bits", "256 bits"), ("512 bits", "no encryption"), ("obj-07", "obj-12"))
        for pair in values:
            assert any(all(value in detail for value in pair) for detail in details)


def test_an_unencrypted_copy_of_encrypted_data_is_denied(patient: Running, project: str) -> None:
    volume = born(Item(project, "volume", "v"))
    snapshot = born(Item(project, "snapshot", "s"), volume.item)
    copy = replace(born(Item(project, "volume", "w"), snapshot.item), encryption=None)
    block = replace(
        born(Item(project, "replica", "r"), volume.item), node="n", transport="block",
        encryption=None,
    )  # fmt: skip
    with performed(patient.site, [volume, snapshot, copy, block]) as played:
        reasons = {letter.headers["x-kmworker-reason"] for letter in played.client.letters}
        assert reasons == {"policy-denied", "conflict"}


def test_the_same_id_under_another_kind_or_project_is_another_item(
    patient: Running, project: str
) -> None:
    volume = born(Item(project, "volume", "same"))
    snapshot = born(Item(project, "snapshot", "same"), volume.item)
    replica = replace(born(Item(project, "replica", "same"), snapshot.item), node="n1")
    elsewhere = born(Item(f"{project}.other", "volume", "same"))
    with performed(patient.site, [replica, snapshot, volume, elsewhere]) as played:
        assert len(played.announced) == 4


def test_a_late_source_ends_the_wait(patient: Running, project: str) -> None:
    volume = born(Item(project, "volume", "v"))
    snapshot = born(Item(project, "snapshot", "s"), volume.item)
    told = history([snapshot, volume])
    with scene(patient.site, told) as played:
        send(played, told.first[:1])
        until(lambda: _waiting(played.reader, project), "it waits", between=played.client.pump)
        none_of(_waiting_problems(played.reader, snapshot, project))
        assert not played.client.assignments
        send(played, told.first[1:])
        settle(played)
        none_of(played.announcement_problems())
        until_none(played.store_problems, within_s=5)


def test_what_waits_for_another_project_is_listed_once(patient: Running, project: str) -> None:
    source = born(Item(f"{project}.source", "volume", "v"))
    here = born(Item(project, "volume", "v"), source.item)
    told = history([here, source])
    with scene(patient.site, told) as played:
        # The same words twice: said in other words, it would wait once more.
        send(played, (told.first[0], told.first[0]))
        until(
            lambda: _all_waiting(played.reader, (project, source.item.project)),
            "it waits",
            between=played.client.pump,
        )
        assert len(_all_waiting(played.reader, (project, source.item.project))) == 1
        send(played, told.first[1:])
        settle(played)
        until_none(played.store_problems, within_s=5)


def test_a_source_that_never_comes_is_given_up(hasty: Running, project: str) -> None:
    snapshot = born(Item(project, "snapshot", "s"), Item(project, "volume", "never"))
    child = born(Item(project, "volume", "child"), snapshot.item)
    with performed(hasty.site, [child, snapshot]) as played:
        reasons = [letter.headers["x-kmworker-reason"] for letter in played.client.letters]
        assert reasons == ["source-missing"] * 2
        assert not played.reader.table(project, "items")


def test_a_source_that_comes_after_all_is_found_by_a_new_event(
    hasty: Running, project: str
) -> None:
    volume = born(Item(project, "volume", "v"))
    snapshot = born(Item(project, "snapshot", "s"), volume.item)
    with performed(hasty.site, [snapshot]):
        pass
    again = replace(snapshot, event_id="again")
    with performed(hasty.site, [volume, again]) as played:
        assert len(played.announced) == 2


@pytest.mark.parametrize(
    ("kind", "is_rewritten"),
    [
        ("snapshot", False), ("volume", False), ("volume", True), ("replica", False),
        ("replica", True),
    ],
)  # fmt: skip
def test_only_what_is_written_anew_gets_a_key_of_its_own_beside_a_positional_stream(
    patient: Running, project: str, kind: str, *, is_rewritten: bool
) -> None:
    volume = replace(born(Item(project, "volume", "v")), encryption=Ask("aes-ctr-plain64"))
    derived = replace(born(Item(project, kind, "d"), volume.item), requested="reuse")
    if kind == "replica":
        transport = "reencrypt" if is_rewritten else "block"
        derived = replace(derived, node="n1", transport=transport)
    elif kind == "volume" and not is_rewritten:
        derived = replace(derived, copy="shared")
    with performed(patient.site, [volume, derived]) as played:
        data, key_id = played.announced[derived.item], played.announced[volume.item]["key_id"]
        assert data["rule"] == "guard:iv-repeats"
        assert data["reencrypt_from"] == (key_id if is_rewritten else None)
        assert (data["key_id"] == key_id) is not is_rewritten


def test_subscribers_can_choose_by_kind_and_project(patient: Running, project: str) -> None:
    volume = born(Item(project, "volume", "v"))
    snapshot = born(Item(project, "snapshot", "s"), volume.item)
    with patient.site.client() as client:
        chosen = _subscription(client, f"key-assigned.snapshot.{project}")
        for event in (volume, snapshot):
            client.publish(plain(event))
        until(lambda: len(client.assignments) == 2, "both", between=client.pump)
        until(lambda: chosen, "the chosen one", between=client.pump)
        assert [event.routing_key.split(".")[1] for event in chosen] == ["snapshot"]


def _subscription(client: Client, routing_key: str) -> list[Delivery]:
    """Hear what this key lets through, on the subscriber's connection that is there already."""
    heard: list[Delivery] = []
    client.hear_assignments(heard, routing_key)
    return heard


def _waiting(reader: Reader, project: str) -> dict[str, dict[str, object]]:
    return reader.records(project, "waiting")


def _all_waiting(reader: Reader, projects: tuple[str, ...]) -> dict[str, dict[str, object]]:
    return {k: v for project in projects for k, v in _waiting(reader, project).items()}


def _waiting_problems(reader: Reader, event: Event, project: str) -> Iterator[str]:
    """What is wrong with the account of the one event that waits."""
    ((entry, record),) = _waiting(reader, project).items()
    if set(record) != {"item", "source", "since", "deadline", "attempts"}:
        yield f"the entry has the fields {sorted(record)}"
    if event.item.id not in str(record["item"]):
        yield f"the entry is about {record['item']}"
    if event.source is not None and event.source.id not in str(record["source"]):
        yield f"the entry waits for {record['source']}"
    if list(reader.sorted_in(project, "waiting:deadlines")) != [entry]:
        yield "the deadline is not listed"
    if reader.table(project, "stats").get("waiting") != "1":
        yield "stats do not count it"
    if entry not in reader.secret(project, "parked"):
        yield "the event is not kept"
    if project not in reader.members("projects"):
        yield "the project is not known"
