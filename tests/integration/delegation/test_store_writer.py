"""Whoever can write to Redis: what he edits or moves is no record, and gives nobody a key."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Self, cast

import pytest

from kmworker.delegation.requests import SignedRequest
from tests.integration.cli.test_events import volume
from tests.kit.outside.asking import Host, Line, lined, second_client
from tests.kit.outside.delegating import (
    WHO,
    Delegation,
    P,
    attached,
    delegating,
    detached,
    enrol,
    serving,
)
from tests.kit.outside.worker import Site, Worker, program, working
from tests.kit.polling import until
from tests.kit.servers import RabbitMQ, StoreServer

MINE, THEIRS, NOBODYS = "mine", "theirs", "nobodys"
OTHER_NODE: Final = "compute-18"
REFUSED: Final = {"not-granted", "try-later"}
REFUSED_TO_WORK: Final = 2


@pytest.fixture(scope="module")
def told(delegation: Delegation) -> Delegation:
    delegation.tell(
        *(volume(it, P) for it in (MINE, THEIRS, NOBODYS)),
        attached(MINE), attached(THEIRS, node=OTHER_NODE),
    )  # fmt: skip
    until(lambda: len(delegation.site.reader.table(P, "grants")) == 2, "attached")
    return delegation


@pytest.fixture(scope="module")
def other(told: Delegation, rabbitmq: RabbitMQ) -> Iterator[Host]:
    options = ("--node", OTHER_NODE, "--project", "*")
    with second_client(told, rabbitmq, "client-18", enrol, *options) as host:
        yield host


class Records:
    """A hash of records, as whoever may write anything has it; it is put back in the end."""

    def __init__(self, told: Delegation, key: str) -> None:
        self._redis: Any = told.site.reader.admin
        self._name = f"{told.site.prefix}:{key}"
        self._before = cast("dict[bytes, bytes]", self._redis.hgetall(self._name))
        assert self._before

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._redis.delete(self._name)
        self._redis.hset(self._name, mapping=self._before)

    def __getitem__(self, field: str) -> bytes:
        return self._before[field.encode()]

    def put(self, field: str, record: bytes) -> None:
        self._redis.hset(self._name, field, record)


def is_served(host: Host, line: Line, name: str) -> None:
    request = host.request(name)
    assert host.key_in(line.ask(request), request)


def altered(record: bytes, old: bytes, new: bytes) -> bytes:
    assert old in record
    return record.replace(old, new)


def test_a_client_whose_record_is_edited_or_moved_is_none(
    told: Delegation, host: Host, other: Host, line: Line
) -> None:
    with Records(told, "clients") as clients, lined(other) as own:
        mine, theirs = clients[host.name], clients[other.name]
        for record in (
            altered(mine, b'"needs_grant":true', b'"needs_grant":false'),
            altered(mine, b"compute-17", OTHER_NODE.encode()),
            theirs, b"", b"{}", b"\xff", mine[:-1],
        ):  # fmt: skip
            clients.put(host.name, record)
            unheard = host.request(MINE)
            line.send(unheard)
            is_served(other, own, THEIRS)
            assert line.answers_to(unheard) == []
        clients.put("another", mine)
    is_served(host, line, MINE)


def test_a_grant_that_is_edited_or_moved_grants_nothing(
    told: Delegation, host: Host, other: Host, line: Line
) -> None:
    requests = []
    with Records(told, f"{{{P}}}:grants") as grants, lined(other) as own:
        mine, theirs = grants[f"volume:{MINE}"], grants[f"volume:{THEIRS}"]
        grants.put(f"volume:{NOBODYS}", mine)
        grants.put(f"volume:{THEIRS}", altered(theirs, OTHER_NODE.encode(), b"compute-17"))
        requests = [host.request(NOBODYS), host.request(THEIRS), other.request(THEIRS)]
        for line_, request in ((line, requests[0]), (line, requests[1]), (own, requests[2])):
            line_.send(request)
        is_served(host, line, MINE)
        grants.put(f"volume:{MINE}", theirs)
        requests.append(host.request(MINE))
        line.send(requests[3])
        for line_, asker, request in (
            (line, host, requests[0]), (line, host, requests[1]), (own, other, requests[2]),
            (line, host, requests[3]),
        ):  # fmt: skip
            assert asker.refusal_in(line_.answer_to(request), request) in REFUSED
    is_served(host, line, MINE)


@pytest.mark.parametrize("table", ["items", "keys", "scopes"])
def test_a_record_of_another_item_in_its_place_gives_no_key(
    told: Delegation, host: Host, line: Line, table: str
) -> None:
    data = told.site.reader.records(P, "items")
    ids = [
        {"items": f"volume:{it}", "keys": data[f"volume:{it}"]["data"]["key_id"],
         "scopes": data[f"volume:{it}"]["data"]["scope_id"]}[table]
        for it in (MINE, NOBODYS)
    ]  # fmt: skip
    with Records(told, f"{{{P}}}:{table}") as records:
        edited = altered(records[ids[0]], b'"seal":"v2.', b'"seal":"v3.')
        for record in (records[ids[1]], edited, b"", b"[]"):
            records.put(ids[0], record)
            request = host.request(MINE)
            assert host.refusal_in(line.ask(request), request) in REFUSED
    is_served(host, line, MINE)


def test_anothers_wrapped_dek_in_its_place_does_not_open(
    told: Delegation, host: Host, line: Line
) -> None:
    data = told.site.reader.records(P, "items")
    mine, another = (data[f"volume:{it}"]["data"]["scope_id"] for it in (MINE, NOBODYS))
    redis: Any = told.site.reader.admin
    name = f"{told.site.prefix}secret:{{{P}}}:deks"
    before = redis.hget(name, mine)
    try:
        for blob in (redis.hget(name, another), before[:-1], b"", b"\x00" * len(before)):
            redis.hset(name, mine, blob)
            request = host.request(MINE)
            assert host.refusal_in(line.ask(request), request) == "try-later"
        redis.hdel(name, mine)
        request = host.request(MINE)
        assert host.refusal_in(line.ask(request), request) == "try-later"
    finally:
        redis.hset(name, mine, before)
    is_served(host, line, MINE)


def test_a_trust_list_that_is_edited_is_not_handed_out(
    told: Delegation, host: Host, line: Line
) -> None:
    reader = told.site.reader

    def trouble() -> bool:
        return any("waiting" in it.values() for it in reader.key_servers().values())

    def unanswered() -> SignedRequest | None:
        request = host.request(MINE)
        line.send(request)
        line.pump(1)
        return None if line.answers_to(request) else request

    with Records(told, "trust") as trust:
        trust.put("list", altered(trust["list"], b'"text":"', b'"text":" '))
        until(trouble, "a key server waits")
        # One that was here before may have said so, too.
        request = until(unanswered, "they all do")
    assert host.key_in(line.answer_to(request), request)


def test_an_older_record_that_is_put_back_is_none_to_who_has_seen_the_newer(
    told: Delegation, rabbitmq: RabbitMQ, line: Line, host: Host
) -> None:
    """A revoked client, a detached volume, a suspended key: all as they were before."""
    redis: Any = told.site.reader.admin
    named = f"{told.site.prefix}:{{{P}}}"
    key_id = told.site.reader.records(P, "items")[f"volume:{MINE}"]["data"]["key_id"]
    options = ("--node", "compute-17", "--project", "*")
    with second_client(told, rabbitmq, "stolen", enrol, *options) as stolen, lined(stolen) as own:
        is_served(stolen, own, MINE)
        is_served(host, line, MINE)
        fields = [
            (f"{told.site.prefix}:clients", stolen.name),
            (f"{named}:grants", f"volume:{MINE}"),
            (f"{named}:keys", key_id),
        ]
        before = [redis.hget(*it) for it in fields]
        told.site.run("client", "revoke", stolen.name, *WHO)
        told.site.run("key", "suspend", f"volume:{MINE}", "--project", P, *WHO)
        for asker, line_, word in ((stolen, own, "unknown-client"), (host, line, "suspended")):
            request = asker.request(MINE)
            assert asker.refusal_in(line_.ask(request), request) == word
        told.tell(detached(MINE))
        until(lambda: "over" in told.attachments(MINE)["a1"], "it is detached")
        waiting = host.request(MINE)
        line.send(waiting)
        is_served_another(told, host, line)
        for field, record in zip(fields, before, strict=True):
            redis.hset(*field, record)
        theft, again = stolen.request(MINE), host.request(MINE)
        own.send(theft)
        line.send(again)
        for request in (waiting, again):
            assert host.refusal_in(line.answer_to(request), request) == "not-granted"
        assert own.answers_to(theft) == []


def is_served_another(told: Delegation, host: Host, line: Line) -> None:
    told.tell(attached(NOBODYS))
    is_served(host, line, NOBODYS)


# --- what ends before anybody has looked ----------------------------------------------


class Older:
    """All records of delegation as they were at one time, and what ends them."""

    def __init__(self, site: Site) -> None:
        self._redis: Any = site.reader.admin
        named = f"{site.prefix}:{{{P}}}"
        self._names = [f"{site.prefix}:clients", *(f"{named}:{it}" for it in RECORDS)]
        self.endings = f"{named}:endings"
        self._records = {name: self._redis.hgetall(name) for name in self._names}

    def put_back(self) -> None:
        for name, fields in self._records.items():
            self._redis.hset(name, mapping=fields)


RECORDS: Final = ("items", "keys", "scopes", "grants")
EACH: Final = 6
"""Requests, so that each of two key servers takes some."""


def test_what_ended_unseen_is_over_to_every_key_server_also_one_that_starts_later(
    told: Delegation, rabbitmq: RabbitMQ, line: Line, host: Host
) -> None:
    """A revoked client, an ended attachment, a suspended key: nobody has asked since."""
    site, options = told.site, ("--node", "compute-17", "--project", "*")
    names = ("d1", "s1", "other")
    told.tell(*(volume(it, P) for it in names), *map(attached, names))
    until(lambda: all(map(told.attachments, names)), "attached")
    with second_client(told, rabbitmq, "robbed", enrol, *options) as robbed, lined(robbed) as own:
        is_served(robbed, own, "s1")
        is_served(host, line, "d1")
        older = Older(site)
        site.run("client", "revoke", robbed.name, *WHO)
        site.run("key", "suspend", "volume:s1", "--project", P, *WHO)
        told.tell(detached("d1"))
        until(lambda: "over" in told.attachments("d1")["a1"], "it is detached")
        newer = Older(site)
        with serving(site):
            older.put_back()
            thefts = [robbed.request("s1") for _ in range(EACH)]
            for theft in thefts:
                own.send(theft)
            for name in ("d1", "s1"):
                requests = [host.request(name) for _ in range(EACH)]
                for request in requests:
                    line.send(request)
                for request in requests:
                    assert host.refusal_in(line.answer_to(request), request) in REFUSED
            assert [own.answers_to(it) for it in thefts] == [[]] * EACH
            is_served(host, line, "other")
            newer.put_back()
            site.run("key", "resume", "volume:s1", "--project", P, *WHO)
            told.tell(attached("d1", "a2"))
            until(lambda: "a2" in told.attachments("d1"), "it is attached again")
            for name in ("d1", "s1") * EACH:
                is_served(host, line, name)


def test_a_chain_that_is_put_back_with_its_records_is_noticed_by_what_the_broker_keeps(
    rabbitmq: RabbitMQ, redis_server: StoreServer, tmp_path: Path
) -> None:
    names = f"anc{tmp_path.stat().st_ino}"
    site = Site(tmp_path, rabbitmq, redis_server, names, names)
    site.lay_keyring()
    try:
        with delegating(site) as made:
            made.tell(volume("v1", P), attached("v1"))
            until(lambda: made.attachments("v1"), "attached")
            older, redis = Older(site), cast("Any", site.reader.admin)
            made.tell(detached("v1"))
            until(lambda: "over" in made.attachments("v1")["a1"], "it is detached")
            entries = redis.lrange(older.endings, 0, -1)
            assert len(entries) == 1
            # The settings are the site's from here on, as `delegating` has made them.
            site = made.site
        older.put_back()
        redis.delete(older.endings)
        environment = site.environment("keyserver")
        accounts = {it: environment[it] for it in ("KMWORKER_BROKER__URL", "KMWORKER_STORE__URL")}
        own = replace(site, settings={**site.settings, **accounts})
        server = Worker(own, [*program(), "keyserver"])
        assert server.ended() == REFUSED_TO_WORK
        assert "of 1 endings it has 0" in server.tail()
        redis.hdel(f"{site.prefix}:commits", "incident")
        worker = Worker(site)
        assert worker.ended() == REFUSED_TO_WORK
        assert "of 1 endings it has 0" in worker.tail()
        redis.hdel(f"{site.prefix}:commits", "incident")
        redis.rpush(older.endings, *entries)
        with working(site), serving(site):
            pass
    finally:
        for each in (rabbitmq, redis_server):
            each.forget(names)
