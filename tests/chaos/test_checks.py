"""The checks that all of this rests on must find what they are there to find."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.kit.outside.check import Scene
from tests.kit.outside.client import Delivery
from tests.kit.outside.history import history
from tests.kit.outside.lineage import Grower
from tests.kit.outside.stage import scene, send
from tests.kit.outside.words import Ask, Event, Item
from tests.kit.outside.worker import Site, stop_all, working
from tests.kit.polling import until, until_none
from tests.kit.servers import RabbitMQ, StoreServer

PROJECT = "checked"
VOLUME = Item(PROJECT, "volume", "v")
NO_SUCH_SIZE = Ask("aes-xts-plain64", 8)
PATIENCE_S = 60.0


@pytest.fixture
def site(
    rabbitmq: RabbitMQ, redis_server: StoreServer, namespace: str, prefix: str, tmp_path: Path
) -> Site:
    it = Site(tmp_path, rabbitmq, redis_server, namespace, prefix)
    it.lay_keyring()
    return it


def events() -> list[Event]:
    """A volume, its clone, one that waits and one that is refused."""
    grower = Grower(Random(1), (PROJECT,))
    absent = Item(PROJECT, "volume", "absent")
    return [
        Event(VOLUME, "1", "/test"),
        Event(Item(PROJECT, "volume", "w"), "2", "/test", VOLUME),
        Event(Item(PROJECT, "snapshot", "s"), "3", "/test", absent),
        replace(
            grower.event(Item(PROJECT, "volume", "d"), None), encryption=Ask("aes-xts-plain64", 8)
        ),
    ]


@contextmanager
def settled(site: Site) -> Iterator[Scene]:
    """A history that has settled, with nobody at work any more."""
    told = history(events()).patient
    with working(site) as workers, scene(site, told, exactly=False) as played:
        send(played, told.first)
        until_none(played.unsettled, between=played.client.pump)
        stop_all(workers)
        assert problems(played) == []
        yield played


def problems(played: Scene) -> list[str]:
    return [*played.unsettled(), *played.announcement_problems(), *played.store_problems()]


def test_a_worker_that_acknowledges_first_is_found_out(site: Site) -> None:
    told = history([Event(VOLUME, "1", "/test"), Event(Item(PROJECT, "volume", "w"), "2", "/test")])
    command = [sys.executable, "-m", "tests.chaos.careless_worker"]
    log = site.folder / "careless.log"
    with log.open("wb") as out:
        careless = subprocess.Popen(command, env=site.environment(), stdout=out, stderr=out)
    try:
        with scene(site, told) as played:
            lost, kept = played.history.first
            send(played, (lost,))
            careless.wait(PATIENCE_S)
            with working(site):
                send(played, (kept,))
                subject = f"{PROJECT}/volume:w"
                until(
                    lambda: subject in played.client.announced(),
                    "the other worker announces its event",
                    between=played.client.pump,
                )
            assert list(played.unsettled()) == [f"{VOLUME.subject} was not announced"]
    finally:
        careless.kill()
        careless.wait()


FORGOTTEN: dict[str, Callable[[Any, str], object]] = {
    "an item": lambda store, p: store.hdel(f"{p}:{{{PROJECT}}}:items", VOLUME.ref),
    "a key": lambda store, p: _shorten(store, f"{p}:{{{PROJECT}}}:keys"),
    "a scope": lambda store, p: _shorten(store, f"{p}:{{{PROJECT}}}:scopes"),
    "a wrapped DEK": lambda store, p: _shorten(store, f"{p}secret:{{{PROJECT}}}:deks"),
    "a holder": lambda store, p: _shorten(store, f"{p}:{{{PROJECT}}}:holders"),
    "a lineage": lambda store, p: store.delete(f"{p}:{{{PROJECT}}}:lineage"),
    "a waiting entry": lambda store, p: _shorten(store, f"{p}:{{{PROJECT}}}:waiting"),
    "a waiting event": lambda store, p: _shorten(store, f"{p}secret:{{{PROJECT}}}:parked"),
    "a deadline": lambda store, p: store.delete(f"{p}:{{{PROJECT}}}:waiting:deadlines"),
    "a total": lambda store, p: store.hincrby(f"{p}:{{{PROJECT}}}:stats", "create", -1),
    "a project": lambda store, p: store.srem(f"{p}:projects", PROJECT),
}


def _shorten(store: Any, key: str) -> None:
    store.hdel(key, store.hkeys(key)[0])


def test_whatever_a_store_forgets_is_found(site: Site) -> None:
    with settled(site) as played:
        store: Any = site.reader.admin
        keys = [key for key in store.scan_iter(f"{site.prefix}*") if b"worker" not in key]
        before = {key: store.dump(key) for key in keys}
        unseen = []
        for what, forget in FORGOTTEN.items():
            forget(store, site.prefix)
            if not problems(played):
                unseen.append(what)
            for key, value in before.items():
                store.restore(key, 0, value, replace=True)
        assert problems(played) == []
        assert unseen == []


def test_a_second_key_and_a_wrong_reason_are_found(site: Site) -> None:
    with settled(site) as played:
        heard = played.client
        first = heard.announced()[VOLUME.subject][0]
        key_id = first.parsed()["data"]["key_id"].encode()
        other = bytes(reversed(key_id))
        heard.assignments.append(replace(first, body=first.body.replace(key_id, other)))
        assert f"{VOLUME.subject} was announced in different words" in problems(played)
        heard.assignments.pop()
        (letter,) = heard.letters
        heard.letters.append(_as_internal(letter))
        assert any("the reason is internal" in problem for problem in problems(played))


def _as_internal(letter: Delivery) -> Delivery:
    properties = type(letter.properties)(**vars(letter.properties))
    properties.headers = {**letter.headers, "x-kmworker-reason": "internal"}
    return replace(letter, properties=properties)
