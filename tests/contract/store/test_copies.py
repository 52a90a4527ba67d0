"""Which client may hold a copy of which key: noted by a key server, until it is over."""

from dataclasses import replace
from typing import Final

import pytest
from structlog.testing import capture_logs

from kmworker.clock import rfc3339
from kmworker.keyserver.ports import Copy
from kmworker.settings import MAX_KEEP_S
from kmworker.store.copies import PAGE_SIZE, REVOKED, RedisCopies
from kmworker.store.names import Names
from tests.kit.polling import until
from tests.kit.store.builders import snapshot, volume
from tests.kit.store.stand import Stand

V: Final = volume("v1")
KEY: Final = "5f0e1c9a-0000-4000-8000-000000000000"
KEEP_S: Final = 3600.0


@pytest.fixture
def copies(stand: Stand) -> RedisCopies:
    return RedisCopies(stand.client("keyserver"), Names(stand.prefix), stand.clock, KEEP_S)


def copy_of(stand: Stand, client: str = "n1", left_s: float = 60.0) -> Copy:
    return Copy(V.project, KEY, client, V, stand.clock.now() + left_s)


def test_what_is_noted_is_found_by_its_key_and_by_its_client(
    stand: Stand, copies: RedisCopies
) -> None:
    first, other = copy_of(stand), copy_of(stand, "n2")
    by_key_id = replace(first, item=None)
    of_snapshot = replace(first, item=snapshot("s1"))
    another = replace(first, key_id=KEY[:-1] + "1", project="p.2", item=volume("v1", project="p.2"))
    copies.add([first, other, by_key_id, of_snapshot, another]).result()
    found, of_another, nothing = copies.of_keys(
        [(V.project, KEY), (another.project, another.key_id), ("p3", KEY)]
    )
    assert set(found) == {first, other, by_key_id, of_snapshot}
    assert (of_another, nothing) == ([another], [])
    assert set(copies.at_client("n1")) == {first, by_key_id, of_snapshot, another}
    assert copies.at_client("n") == []


def test_what_is_over_is_not_found_and_is_gone_by_itself(stand: Stand, copies: RedisCopies) -> None:
    copies.add([copy_of(stand, left_s=60), copy_of(stand, "n2", left_s=KEEP_S)]).result()
    stand.clock.advance(60)
    assert [it.client for it in copies.of_keys([(V.project, KEY)])[0]] == ["n2"]
    assert copies.at_client("n1") == []
    names = Names(stand.prefix)
    for name in (names.copies_of(V.project, KEY), names.copies_at("n2")):
        assert 0 < stand.raw.ttl(name) <= KEEP_S + 1
    copies.add([copy_of(stand, "n2")]).result()
    assert stand.raw.zcard(names.copies_of(V.project, KEY)) == 1


def test_a_copy_that_is_delivered_anew_has_the_later_end(stand: Stand, copies: RedisCopies) -> None:
    copies.add([copy_of(stand)]).result()
    later = copy_of(stand, left_s=120)
    copies.add([later]).result()
    assert copies.of_keys([(V.project, KEY)]) == [[later]]


def test_what_somebody_has_spoilt_is_told_and_keeps_no_other_from_it(
    stand: Stand, copies: RedisCopies
) -> None:
    other = KEY[:-1] + "1"
    stand.raw.set(Names(stand.prefix).copies_of(V.project, KEY), "no set")
    good = replace(copy_of(stand), key_id=other)
    with capture_logs() as log:
        copies.add([copy_of(stand), good]).result()
        assert copies.of_keys([(V.project, KEY), (V.project, other)]) == [[], [good]]
    assert [it["log_level"] for it in log].count("error") >= 2


def test_clients_that_were_revoked_are_there_until_they_are_told(
    stand: Stand, copies: RedisCopies
) -> None:
    name = Names(stand.prefix).top(REVOKED)
    stand.raw.hset(name, mapping={"n1 2": "", "n.2 7": ""})
    found = copies.revoked_clients()
    assert sorted(found) == [("n.2", "7"), ("n1", "2")]
    # Enrolled anew and revoked again meanwhile: that is another.
    stand.raw.hset(name, "n1 4", "")
    copies.told(found)
    assert copies.revoked_clients() == [("n1", "4")]


def test_what_no_operator_has_written_hides_no_revoked_client(
    stand: Stand, copies: RedisCopies
) -> None:
    strange = {f"n{number}": "" for number in range(PAGE_SIZE + 50)}
    stand.raw.hset(
        stand.top(REVOKED), mapping={**strange, "n1 x": "", "n1 ": "", f"{'x' * 300} 1": ""}
    )
    stand.raw.hset(stand.top(REVOKED), b"\xff 2", "")
    stand.raw.hset(stand.top(REVOKED), "n1 2", "")
    found = until(copies.revoked_clients, "it is found")
    assert set(found) == {("n1", "2")}
    copies.told(found)

    def is_empty() -> bool:
        assert copies.revoked_clients() == []
        return not stand.raw.exists(stand.top(REVOKED))

    until(is_empty, "the others are gone, too")


STRANGE: Final = {
    "client": f"{'x' * 300} volume:v1",
    "no client": " volume:v1",
    "kind": "n1 pool:v1",
    "item": f"n1 volume:{'v' * 300}",
    "no item": "n1 volume:",
    "image": "n1 image:v1",
    "line": "n1\n volume:v1",
}


@pytest.mark.parametrize("member", STRANGE.values(), ids=STRANGE)
def test_what_no_key_server_has_noted_is_nobodys_copy(
    stand: Stand, copies: RedisCopies, member: str
) -> None:
    good = copy_of(stand)
    copies.add([good]).result()
    stand.raw.zadd(copies._names.copies_of(V.project, KEY), {member: stand.clock.now() + 60})
    assert copies.of_keys([(V.project, KEY)]) == [[good]]


@pytest.mark.parametrize("member", [f"p1 {KEY[:-1]} volume:v1", f"{'p' * 200} {KEY} ", "p1"])
def test_neither_is_such_an_entry_of_a_client(
    stand: Stand, copies: RedisCopies, member: str
) -> None:
    copies.add([good := copy_of(stand)]).result()
    stand.raw.zadd(copies._names.copies_at("n1"), {member: stand.clock.now() + 60})
    assert copies.at_client("n1") == [good]


@pytest.mark.parametrize("score", ["inf", 1e12, 1e300])
def test_no_copy_is_kept_for_longer_than_any_may_be(
    stand: Stand, copies: RedisCopies, score: float
) -> None:
    stand.raw.zadd(copies._names.copies_of(V.project, KEY), {f"n1 {V.ref}": score})
    ((found,),) = copies.of_keys([(V.project, KEY)])
    assert found.until_s == pytest.approx(stand.clock.now() + MAX_KEEP_S, abs=5)
    assert rfc3339(found.until_s)
