"""What has ended stays so, whatever is put back in Redis: chains, and what is anchored of them."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from kmworker.crypto import KeyringCustody
from kmworker.domain.endings import Chain, EndingEntry
from kmworker.domain.grants import NO_GRANTS, Grants, GrantsSeen, granted
from kmworker.domain.keks import KekStep
from kmworker.domain.lifecycle import Step
from kmworker.domain.model import Item
from kmworker.domain.plan import Committed, GrantWrite, WriteStatus
from kmworker.errors import PermanentError, SetupError, StoreUnavailable
from kmworker.keyserver.ports import FoundKey
from kmworker.store.admission import enter
from kmworker.store.endings_seen import EndingsSeen
from kmworker.store.records import RecordCodec
from kmworker.store.rewrapping import Rewrapping
from tests.kit.builders import NOW, attach, detach, event_of, release_of
from tests.kit.store.builders import (
    BOTH_KEYRINGS,
    CUSTODY,
    INSTALLATION,
    KEYRING,
    OTHER_KEYRING,
    volume,
)
from tests.kit.store.filling import brief, found_in
from tests.kit.store.key_life import after_30_days, command, key_of, tidy
from tests.kit.store.key_servers import asked_of, enroll, found_by, key_server, revoke
from tests.kit.store.playing import play
from tests.kit.store.stand import Stand, only

V, W = volume("v1"), volume("w1")


@pytest.fixture(autouse=True)
def attached(stand: Stand) -> None:
    stand.first.admit()
    play(stand, event_of(V), event_of(W), attach())


def chain(stand: Stand, project: str = "p1") -> list[bytes]:
    found: list[bytes] = stand.raw.lrange(_list(stand, project), 0, -1)
    return found


def _list(stand: Stand, project: str = "p1") -> str:
    return stand.key(project, "endings") if project else stand.top("endings")


def said(stand: Stand, project: str = "p1") -> list[dict[str, int]]:
    return [json.loads(it)["of"] for it in chain(stand, project)]


def put_chain(stand: Stand, entries: list[bytes], project: str = "p1") -> None:
    stand.raw.delete(_list(stand, project))
    if entries:
        stand.raw.rpush(_list(stand, project), *entries)


def grants_of(stand: Stand, item: Item = V) -> Grants:
    found = stand.first.look_up_grants([item]).result()[item]
    assert isinstance(found, GrantsSeen)
    return found.grants


def detach_it(stand: Stand) -> None:
    play(stand, detach())


def detach_other(stand: Stand) -> None:
    # The first try finds that others have made the chain longer.
    for _ in range(2):
        play(stand, detach("early"))


def suspend_it(stand: Stand) -> None:
    assert command(stand, V, Step.SUSPEND)


def destroy_it(stand: Stand) -> None:
    play(stand, release_of(V))
    after_30_days(stand)
    tidy(stand)


def is_served(found: FoundKey) -> bool:
    return not found.flaw and found.key is not None and bool(found.grants.live)


class Taken:
    """Hashes and lists as they were, for whoever may write anything."""

    def __init__(self, stand: Stand) -> None:
        self._raw: Any = stand.raw
        names = [stand.key("p1", it) for it in ("items", "keys", "scopes", "grants")]
        self._hashes = {name: self._raw.hgetall(name) for name in names}
        self._hashes |= {name: self._raw.hgetall(name) for name in [stand.secret("p1", "deks")]}
        self._hashes[stand.top("clients")] = self._raw.hgetall(stand.top("clients"))

    def put_back(self) -> None:
        for name, fields in self._hashes.items():
            if fields:
                self._raw.hset(name, mapping=fields)


# --- what is written down -------------------------------------------------------------


def test_what_ends_nothing_writes_nothing_down(stand: Stand) -> None:
    assert is_served(found_by(key_server(stand), V)[0])
    assert command(stand, W, Step.SUSPEND)
    before = chain(stand)
    assert len(before) == 1
    assert command(stand, W, Step.RESUME)
    play(stand, attach("a2"), release_of(W))
    assert chain(stand) == before
    assert stand.raw.exists(stand.top("endings")) == 0


def test_a_detachment_is_written_down_in_the_step_that_makes_it(stand: Stand) -> None:
    play(stand, detach(), detach("early"))
    assert said(stand) == [{"grants volume:v1": grants_of(stand).version}]


def test_a_suspension_and_a_destruction_are(stand: Stand) -> None:
    key_id = key_of(stand, V).key_id
    suspend_it(stand)
    assert said(stand) == [{f"keys {key_id}": 2}]
    assert command(stand, V, Step.RESUME)
    destroy_it(stand)
    assert said(stand)[1:] == [{f"keys {key_id}": key_of(stand, V).version}]


def test_what_becomes_of_a_client_is(stand: Stand) -> None:
    enroll(stand, "c1")
    assert said(stand, "") == []
    revoke(stand, "c1")
    enroll(stand, "c1", b"b")
    assert said(stand, "") == [{"clients c1": 2}, {"clients c1": 3}]


def test_each_entry_follows_the_one_before(stand: Stand) -> None:
    detach_it(stand)
    suspend_it(stand)
    codec = RecordCodec(CUSTODY)
    (first, digest), (second, _digest) = [codec.read_ending("p1", it) for it in chain(stand)]
    assert (first.number, first.after) == (1, "")
    assert (second.number, second.after) == (2, digest)


# --- several writers ------------------------------------------------------------------


def write_of(seen: Any, event: Any) -> GrantWrite:
    before = seen if isinstance(seen, GrantsSeen) else None
    after = granted(NO_GRANTS if before is None else before.grants, event, NOW, 30.0)
    assert isinstance(after, Grants)
    return GrantWrite(V, before, after)


def test_two_workers_take_turns_at_the_end_of_a_chain(stand: Stand) -> None:
    other = stand.store(worker_id="other")
    other.admit()
    for number in range(4):
        store = (stand.first, other)[number % 2]
        answers: list[WriteStatus] = []
        while WriteStatus.WRITTEN not in answers and len(answers) < 3:
            seen = store.look_up_grants([V]).result()[V]
            (answer,) = store.commit([write_of(seen, detach(f"e{number}"))]).result()
            answers.append(answer.status)
        assert WriteStatus.WRITTEN in answers[:2]
    assert len(chain(stand)) == 4
    assert is_served(found_by(key_server(stand), V)[0])


def test_two_batches_on_their_way_follow_each_other(stand: Stand) -> None:
    seen = stand.first.look_up_grants([V]).result()[V]
    one = stand.first.commit([write_of(seen, detach("e1"))])
    two = stand.first.commit([write_of(None, detach("e2"))])
    assert only(one.result()).status is WriteStatus.WRITTEN
    # It was not as it was seen: nothing is said of it.
    assert only(two.result()).status is WriteStatus.STALE
    assert len(chain(stand)) == 1
    play(stand, detach("e3"))
    assert len(chain(stand)) == 2


def test_an_entry_says_nothing_that_is_not_written_with_it(stand: Stand) -> None:
    seen = stand.first.look_up_grants([V]).result()[V]
    play(stand, attach("a2"))
    with stand.untouched():
        answers = stand.commit(write_of(seen, detach()), GrantWrite(W, None, NO_GRANTS))
        assert [it.status for it in answers] == [WriteStatus.STALE] * 2


# --- what key servers make of it ------------------------------------------------------

ENDINGS = pytest.mark.parametrize(
    "end", [detach_it, suspend_it, destroy_it], ids=["detached", "suspended", "destroyed"]
)


@ENDINGS
@pytest.mark.parametrize("is_new", [False, True], ids=["who-was-there", "who-starts-later"])
def test_what_is_put_back_is_over_to_a_key_server(
    stand: Stand, end: Callable[[Stand], None], *, is_new: bool
) -> None:
    before, there = Taken(stand), key_server(stand)
    # Another item alone: this one's newer record it never sees.
    found_by(there, W)
    end(stand)
    before.put_back()
    server = key_server(stand) if is_new else there
    found, other = found_by(server, V, W)
    assert "put it back" in found.flaw
    assert found.key is None
    assert found.wrapped is None
    assert not other.flaw


def test_a_key_id_that_is_put_back_is_over_to_who_asks_by_it(stand: Stand) -> None:
    before, key_id = Taken(stand), key_of(stand, V).key_id
    suspend_it(stand)
    before.put_back()
    (found,) = key_server(stand).find([asked_of(key_id=key_id)])
    assert "put it back" in found.flaw
    assert found.wrapped is None


@pytest.mark.parametrize("is_new", [False, True])
def test_a_client_that_is_put_back_is_none(stand: Stand, *, is_new: bool) -> None:
    enroll(stand, "c1")
    enroll(stand, "c2")
    there, before = key_server(stand), Taken(stand)
    assert there.clients(["c1", "c2"]).keys() == {"c1", "c2"}
    revoke(stand, "c1")
    before.put_back()
    server = key_server(stand) if is_new else there
    assert server.clients(["c1", "c2"]).keys() == {"c2"}


def test_what_begins_again_is_served(stand: Stand) -> None:
    server = key_server(stand)
    detach_it(stand)
    suspend_it(stand)
    assert not is_served(found_by(server, V)[0])
    assert command(stand, V, Step.RESUME)
    play(stand, attach("a2"))
    assert is_served(found_by(server, V)[0])
    assert is_served(found_by(key_server(stand), V)[0])
    enroll(stand, "c1")
    revoke(stand, "c1")
    enroll(stand, "c1", b"b")
    assert server.clients(["c1"])["c1"].version == 3


def cut(entries: list[bytes]) -> list[bytes]:
    return entries[:-1]


def emptied(entries: list[bytes]) -> list[bytes]:
    return []


def without_first(entries: list[bytes]) -> list[bytes]:
    return entries[1:]


def swapped(entries: list[bytes]) -> list[bytes]:
    return [entries[1], entries[0], *entries[2:]]


def doubled(entries: list[bytes]) -> list[bytes]:
    return [entries[0], *entries]


def edited(entries: list[bytes]) -> list[bytes]:
    return [entries[0].replace(b'"of":{"grants', b'"of":{"grints'), *entries[1:]]


def forged(entries: list[bytes]) -> list[bytes]:
    other = EndingEntry(1, "", {"grants volume:v1": 1})
    return [RecordCodec(CUSTODY).ending("p2", other)[0], *entries[1:]]


def three(stand: Stand) -> list[bytes]:
    """Have three things end, and V be served in spite of it."""
    detach_it(stand)
    play(stand, attach("a2"))
    suspend_it(stand)
    detach_other(stand)
    assert command(stand, V, Step.RESUME)
    whole = chain(stand)
    assert len(whole) == 3
    return whole


SPOILT = pytest.mark.parametrize(
    "spoil", [without_first, swapped, doubled, edited, forged], ids=lambda it: it.__name__
)


@SPOILT
def test_nothing_of_a_project_is_believed_whose_chain_is_not_whole(
    stand: Stand, spoil: Callable[[list[bytes]], list[bytes]]
) -> None:
    whole = three(stand)
    server = key_server(stand)
    put_chain(stand, spoil(whole))
    for item in (V, W):
        (found,) = found_by(server, item)
        assert found.flaw
        assert found.key is None
    put_chain(stand, whole)
    assert is_served(found_by(server, V)[0])


@SPOILT
def test_what_was_read_before_it_was_spoilt_is_known(
    stand: Stand, spoil: Callable[[list[bytes]], list[bytes]]
) -> None:
    server, before = key_server(stand), Taken(stand)
    whole = three(stand)
    assert is_served(found_by(server, V)[0])
    put_chain(stand, spoil(whole))
    before.put_back()
    assert found_by(server, V)[0].flaw


@pytest.mark.parametrize("spoil", [cut, emptied], ids=lambda it: it.__name__)
def test_a_chain_that_ends_earlier_is_none_to_who_has_read_more(
    stand: Stand, spoil: Callable[[list[bytes]], list[bytes]]
) -> None:
    there = key_server(stand)
    whole = three(stand)
    assert is_served(found_by(there, V)[0])
    put_chain(stand, spoil(whole))
    assert "cut short" in found_by(there, V)[0].flaw
    # It was as this at some time: the anchor alone tells who starts now.
    assert is_served(found_by(key_server(stand), V)[0])
    with pytest.raises(SetupError, match="rolled back"):
        key_server(stand, anchored=3)
    put_chain(stand, whole)
    assert is_served(found_by(there, V)[0])


def test_another_end_of_the_same_length_is_none_to_who_has_read_it(stand: Stand) -> None:
    there = key_server(stand)
    whole = three(stand)
    assert is_served(found_by(there, V)[0])
    put_chain(stand, whole[:2])
    stand.first.admit()
    play(stand, detach("a7"))
    assert len(chain(stand)) == 3
    assert "not the one that was written" in found_by(there, V)[0].flaw


def test_another_type_in_a_chains_place_stops_no_other_project(stand: Stand) -> None:
    server = key_server(stand)
    stand.spoil(_list(stand))
    assert found_by(server, V)[0].flaw
    with pytest.raises(PermanentError):
        play(stand, detach())
    play(stand, event_of(volume("x1")))


# --- what operators see and do --------------------------------------------------------


def test_verify_finds_what_was_put_back(stand: Stand) -> None:
    enroll(stand, "c1")
    before, key_id = Taken(stand), key_of(stand, V).key_id
    detach_it(stand)
    suspend_it(stand)
    revoke(stand, "c1")
    assert found_in(stand) == []
    before.put_back()
    assert brief(found_in(stand)) == [
        ("contradiction", "", "clients", "c1"),
        ("contradiction", "p1", "grants", V.ref),
        ("contradiction", "p1", "keys", key_id),
        # What has become of it was to be announced.
        ("contradiction", "p1", "outbox", f"{key_id} 2"),
    ]


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (without_first, ("contradiction", "1")),
        (swapped, ("contradiction", "1")),
        (doubled, ("contradiction", "2")),
        (edited, ("seal-broken", "1")),
        (forged, ("seal-broken", "1")),
    ],
)
def test_verify_finds_where_a_chain_is_not_whole(
    stand: Stand, spoil: Callable[[list[bytes]], list[bytes]], found: tuple[str, str]
) -> None:
    put_chain(stand, spoil(three(stand)))
    assert brief(found_in(stand)) == [(found[0], "p1", "endings", found[1])]


def test_verify_finds_clients_and_lists_that_are_not_as_they_were_sealed(stand: Stand) -> None:
    enroll(stand, "c1")
    stand.raw.hset(stand.top("clients"), "c2", stand.raw.hget(stand.top("clients"), "c1"))
    stand.raw.hset(stand.top("trust"), "list", b"{}")
    assert brief(found_in(stand)) == [
        ("seal-broken", "", "clients", "c2"),
        ("seal-broken", "", "trust", "list"),
    ]


def test_endings_are_under_the_active_kek_after_a_rewrap_and_as_they_were(stand: Stand) -> None:
    enroll(stand, "c1")
    three(stand)
    revoke(stand, "c1")
    before = said(stand) + said(stand, "")
    old, new = KEYRING.newest, OTHER_KEYRING.newest
    stand.register(KeyringCustody(OTHER_KEYRING, INSTALLATION))
    stand.step_kek(new, KekStep.ACTIVATE)
    views, both = stand.views("rewrapper"), KeyringCustody(BOTH_KEYRINGS, INSTALLATION)
    enter(both, views)
    run = Rewrapping(views, both)
    flaws = [flaw for page in run.rewrap("p1") for flaw in page.flaws]
    assert flaws == []
    assert [it.place.key for page in run.references("p1", old) for it in page] == []
    run.finish()
    assert run.references_of_no_project(old) == []
    assert said(stand) + said(stand, "") == before
    assert all(f"v2.{new}".encode() in it for it in chain(stand) + chain(stand, ""))
    worker = stand.store(custody=KeyringCustody(BOTH_KEYRINGS, INSTALLATION))
    worker.admit()
    seen = worker.look_up_grants([V]).result()[V]
    answer = only(worker.commit([write_of(seen, detach("e5"))]).result())
    assert answer == Committed(WriteStatus.WRITTEN)
    codec, whole = RecordCodec(both), Chain()
    assert all(whole.takes(*codec.read_ending("p1", it)) for it in chain(stand))
    assert whole.end.number == 4


# --- what is anchored -----------------------------------------------------------------


def test_a_chain_that_is_shorter_than_it_was_is_an_incident(stand: Stand) -> None:
    worker = stand.store(allow_volatile=False, is_vouched=True)
    worker.admit()
    detach_it(stand)
    suspend_it(stand)
    assert worker.endings() == 2
    put_chain(stand, cut(chain(stand)))
    with pytest.raises(SetupError, match="of 2 endings of project p1 it has 1"):
        worker.endings()
    # All others are told.
    with pytest.raises(SetupError, match="incident"):
        stand.store(allow_volatile=False, is_vouched=True).admit()


def test_what_is_anchored_shows_that_all_chains_are_older(stand: Stand) -> None:
    before = Taken(stand)
    enroll(stand, "c1")
    revoke(stand, "c1")
    detach_it(stand)
    suspend_it(stand)
    key_server(stand, anchored=3)
    worker = stand.store(allow_volatile=False, is_vouched=True)
    worker.admit()
    worker.refuse_if_endings_lack(3)
    before.put_back()
    put_chain(stand, cut(chain(stand)))
    with pytest.raises(SetupError, match="of 3 endings it has 2"):
        key_server(stand, anchored=3)
    stand.raw.hdel(stand.top("commits"), "incident")
    late = stand.store(allow_volatile=False, is_vouched=True)
    late.admit()
    with pytest.raises(SetupError, match="of 3 endings it has 2"):
        late.refuse_if_endings_lack(3)


def test_what_is_put_into_another_chain_makes_up_for_nothing(stand: Stand) -> None:
    detach_it(stand)
    suspend_it(stand)
    entries = chain(stand)
    put_chain(stand, cut(entries))
    stand.raw.sadd(stand.top("projects"), "p2")
    put_chain(stand, entries, "p2")
    with pytest.raises(SetupError, match="of 2 endings it has 1"):
        key_server(stand, anchored=2)


def test_a_key_server_compares_again_while_it_runs(stand: Stand) -> None:
    detach_it(stand)
    anchored = [0]
    server = key_server(stand)
    server._watch._ask = lambda: anchored[0]
    for _ in range(3):
        stand.clock.sleep(31)
        server.follow_keyring()
    anchored[0] = 2
    stand.clock.sleep(31)
    server.follow_keyring()
    stand.clock.sleep(31)
    with pytest.raises(SetupError, match="of 2 endings it has 1"):
        server.follow_keyring()


def test_a_round_that_broke_off_is_no_round(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    worker, other = stand.store(), stand.store(worker_id="other")
    for it in (worker, other):
        it.admit()
        assert it.endings() == 0
    seen = worker._seen
    assert seen.look_at_some() == ([], True)
    detach_it(stand)
    with monkeypatch.context() as patch:
        patch.setattr(EndingsSeen, "_look_at", away)
        with pytest.raises(StoreUnavailable):
            seen.look_at_some()
    # What was to be looked at then is looked at before another round begins.
    assert seen.look_at_some() == ([], False)
    assert (seen.total, other.endings()) == (1, 1)
    assert seen.look_at_some() == ([], True)


def away(_seen: EndingsSeen, _projects: Sequence[str]) -> list[str]:
    raise StoreUnavailable("away")


def test_who_may_lose_records_unnoticed_is_told_once(stand: Stand) -> None:
    detach_it(stand)
    assert stand.first.endings() == 1
    put_chain(stand, [])
    assert stand.first.endings() == 0
    detach_other(stand)
    assert stand.first.endings() == 1
