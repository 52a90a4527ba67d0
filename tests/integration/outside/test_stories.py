"""Small stories with one point each, on an installation that is shared with others."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest

from tests.integration.outside.conftest import Running
from tests.integration.outside.test_model import PART, REFUSED, TABLE, P
from tests.kit.checker.rules import problems
from tests.kit.outside.heard import Delivery
from tests.kit.outside.history import history
from tests.kit.outside.reader import Reader
from tests.kit.outside.stage import performed, scene, send, settle
from tests.kit.outside.wire import plain
from tests.kit.outside.words import Ask, Event, Item
from tests.kit.polling import none_of, until, until_none


def born(item: Item, source: Item | None = None) -> Event:
    return Event(item, f"birth of {item.kind}", "/stories", source)


def here(project: str, events: Iterable[Event]) -> list[Event]:
    """The same events in a project of the test's own, and in others that begin with its name."""

    def moved(item: Item) -> Item:
        return replace(item, project=project if item.project == P else f"{project}.{item.project}")

    return [
        replace(event, item=moved(event.item), source=event.source and moved(event.source))
        for event in events
    ]


@pytest.mark.parametrize("events", [row[0] for row in TABLE.values()], ids=TABLE)
def test_a_worker_does_what_the_table_says_in_whatever_order(
    patient: Running, project: str, events: tuple[Event, ...]
) -> None:
    told = here(project, events)
    with performed(patient.site, told[::-1], told):
        pass


REFUSED_AT_ONCE = [events for events, reason in REFUSED if reason != "source-missing"]


@pytest.mark.parametrize("events", REFUSED_AT_ONCE)
def test_a_worker_refuses_what_the_table_does(
    patient: Running, project: str, events: list[Event]
) -> None:
    with performed(patient.site, here(project, events)):
        pass


def test_a_replica_that_asks_for_another_cipher_than_its_partition_gets_a_key_of_its_own(
    patient: Running, project: str
) -> None:
    (first,) = here(project, [PART])
    item = replace(first.item, id="another")
    cipher = Ask("aes-cbc-essiv:sha256", 256)
    other = replace(first, item=item, event_id="other", encryption=cipher)
    with performed(patient.site, [first], [other]) as played:
        assert played.announced[item]["rule"] == "guard:encryption-differs"


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


def test_subscribers_can_choose_by_kind_and_project(patient: Running, project: str) -> None:
    volume = born(Item(project, "volume", "v"))
    snapshot = born(Item(project, "snapshot", "s"), volume.item)
    with patient.site.client() as client:
        chosen: list[Delivery] = []
        client.hear_assignments(chosen.append, f"key-assigned.snapshot.{project}")
        for event in (volume, snapshot):
            client.publish(plain(event))
        until(lambda: len(client.assignments) == 2, "both", between=client.pump)
        until(lambda: chosen, "the chosen one", between=client.pump)
        assert [event.routing_key.split(".")[1] for event in chosen] == ["snapshot"]


def _waiting(reader: Reader, project: str) -> dict[str, dict[str, object]]:
    return reader.records(project, "waiting")


def _all_waiting(reader: Reader, projects: tuple[str, ...]) -> dict[str, dict[str, object]]:
    return {k: v for project in projects for k, v in _waiting(reader, project).items()}


def _waiting_problems(reader: Reader, event: Event, project: str) -> Iterator[str]:
    """What is wrong with the account of the one event that waits."""
    ((_entry, record),) = _waiting(reader, project).items()
    if set(record) != {"item", "source", "since", "deadline", "attempts"}:
        yield f"the entry has the fields {sorted(record)}"
    if event.item.id not in str(record["item"]):
        yield f"the entry is about {record['item']}"
    if event.source is not None and event.source.id not in str(record["source"]):
        yield f"the entry waits for {record['source']}"
    yield from problems(reader.contents([project]))
    if project not in reader.members("projects"):
        yield "the project is not known"
