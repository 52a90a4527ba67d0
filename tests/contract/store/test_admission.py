"""A worker uses a store only if it can lose nothing and belongs to the worker's keyring."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import redis

from kmworker.crypto import KeyringCustody
from kmworker.domain.model import Broken
from kmworker.errors import SetupError, StoreUnavailable
from kmworker.store.layout import MINIMUM, NUMBER, Layout, fields_of
from kmworker.store.redis_store import RedisStore
from tests.kit.servers import Start, StoreServer
from tests.kit.servers.ports import free_port
from tests.kit.store.builders import (
    INSTALLATION,
    KEYRING,
    NEWER_CUSTODY,
    OTHER_CUSTODY,
    Drafts,
    draft,
    snapshot,
    volume,
)
from tests.kit.store.stand import Stand, StandOn

Option = tuple[str, str]


def refusal(store: RedisStore) -> str:
    """Return the words with which a store is refused, and see that there is a hint."""
    with pytest.raises(SetupError) as raised:
        store.admit()
    assert raised.value.hint
    return str(raised.value)


# --- durability -------------------------------------------------------------------------

VOLATILE = {
    "appendonly is off (CONFIG SET appendonly yes)": ("appendonly", "no"),
    "appendfsync is everysec, not always": ("appendfsync", "everysec"),
    "appendfsync is no, not always": ("appendfsync", "no"),
    "no-appendfsync-on-rewrite is yes": ("no-appendfsync-on-rewrite", "yes"),
    "maxmemory-policy allkeys-lru evicts keys (use noeviction)": (
        "maxmemory-policy",
        "allkeys-lru",
    ),
    "maxmemory-policy volatile-ttl evicts keys (use noeviction)": (
        "maxmemory-policy",
        "volatile-ttl",
    ),
}


def test_a_durable_store_is_admitted(own: Stand) -> None:
    assert own.store(allow_volatile=False).admit() == "/kmworker"


@pytest.mark.parametrize(
    ("words", "option"), VOLATILE.items(), ids=["-".join(option) for option in VOLATILE.values()]
)
def test_a_store_that_may_lose_a_write_is_refused_and_says_how(
    start: Start[StoreServer], stand_on: StandOn, words: str, option: Option
) -> None:
    stand = stand_on(start(dict([option])))
    assert refusal(stand.store(allow_volatile=False)) == f"the store is not durable: {words}"
    assert stand.contents() == {}
    # For a try-out, by the operator's own word.
    assert stand.store(allow_volatile=True).admit() == "/kmworker"


def test_all_that_is_volatile_is_named_at_once(
    start: Start[StoreServer], stand_on: StandOn
) -> None:
    stand = stand_on(start(dict(VOLATILE.values())))
    words = refusal(stand.store(allow_volatile=False))
    assert "appendonly is off" in words
    assert "appendfsync is no, not always" in words
    assert "no-appendfsync-on-rewrite is yes" in words
    assert "volatile-ttl evicts keys" in words


def test_a_store_that_becomes_volatile_is_refused_at_the_next_reconnection(own: Stand) -> None:
    store = own.store(allow_volatile=False)
    store.admit()
    own.raw.config_set("appendfsync", "everysec")
    assert "everysec" in refusal(store)


@pytest.mark.parametrize(
    "rights", ["~* &* +@all -config", "~* &* +@all -config|get", "~* &* +@all -@admin"]
)
def test_a_store_that_does_not_let_us_look_is_refused(own: Stand, rights: str) -> None:
    client = own.client_with(rights)
    words = refusal(own.store(client, allow_volatile=False))
    assert words == "cannot see whether the store is durable: CONFIG GET is not permitted"
    assert own.store(client, allow_volatile=True).admit() == "/kmworker"


def test_a_user_that_may_look_needs_no_more_rights_than_that(own: Stand) -> None:
    client = own.client_with("~{0}:* ~{0}secret:* -@all +@write +@read +@scripting"
                               " +config|get +acl|dryrun +hello")  # fmt: skip
    assert own.store(client, allow_volatile=False).admit() == "/kmworker"


def test_a_store_that_could_not_read_its_own_files_is_refused(own: Stand) -> None:
    client = own.client_with("~* +@all")
    # Who may do nothing here is who reads the append-only file.
    raw: Any = client
    raw.acl_setuser("default", enabled=False, reset_keys=True, categories=["-@all"])
    store = own.store(client, allow_volatile=False)
    assert "its user default may not run what scripts have written" in refusal(store)
    raw.acl_setuser("default", enabled=False, keys=["*"], categories=["+@all"])
    assert store.admit() == "/kmworker"


@pytest.mark.parametrize("rights", ["~* &* +@all -acl", "~* &* +@all -acl|dryrun"])
def test_a_store_that_does_not_let_us_see_whether_it_can_read_its_files_is_refused(
    own: Stand, rights: str
) -> None:
    store = own.store(own.client_with(rights), allow_volatile=False)
    assert "ACL DRYRUN is not permitted" in refusal(store)


def test_what_a_service_hides_its_operator_may_vouch_for(
    start: Start[StoreServer], stand_on: StandOn
) -> None:
    stand = stand_on(start({"rename-command": 'CONFIG ""'}))
    with pytest.raises(SetupError, match="cannot see whether the store") as refused:
        stand.store(allow_volatile=False).admit()
    assert 'store.durability = "vouched"' in refused.value.hint
    assert "appendfsync always" in refused.value.hint
    assert stand.store(allow_volatile=False, is_vouched=True).admit() == "/kmworker"
    assert stand.store(allow_volatile=True).admit() == "/kmworker"


def test_a_store_that_its_operator_vouches_for_is_refused_when_it_has_lost_records(
    stand: Stand,
) -> None:
    store = stand.store(allow_volatile=False, is_vouched=True)
    store.admit()
    store.commit([draft.create(volume("v1"))]).result()
    stand.raw.delete(stand.key("p1", "commits"))
    assert "was rolled back" in refusal(store)


# --- what kind of server it is -----------------------------------------------------------


def test_a_node_of_a_redis_cluster_is_refused_by_whoever_connects_and_nothing_is_written(
    start: Start[StoreServer], stand_on: StandOn
) -> None:
    server = start({"cluster-enabled": "yes", "cluster-port": str(free_port())})
    stand = stand_on(server)
    for ask in (
        stand.store().admit,
        stand.raw.ping,
        lambda: stand.store().look_up([volume("v")]).result(),
    ):
        with pytest.raises(SetupError, match="Redis Cluster, which is not supported") as refused:
            ask()
        assert "one primary" in refused.value.hint
    assert server.admin().dbsize() == 0


def test_a_replica_is_waited_at_until_it_is_the_primary(
    start: Start[StoreServer], stand_on: StandOn
) -> None:
    primary = start()
    stand = stand_on(start({"replicaof": f"127.0.0.1 {primary.port}"}))
    store = stand.store(allow_volatile=False)
    with pytest.raises(StoreUnavailable, match="is a replica"):
        store.admit()
    stand.raw.execute_command("REPLICAOF", "NO", "ONE")
    assert store.admit() == "/kmworker"


# --- whose store it is ------------------------------------------------------------------


def test_the_first_worker_writes_whose_store_it_is(stand: Stand) -> None:
    assert stand.first.admit() == "/kmworker"
    (value,) = stand.custody.check_values("keyring", INSTALLATION, "/kmworker").values()
    assert stand.value(stand.top("keyring")) == {
        b"source": b"/kmworker",
        b"kek_ids": stand.custody.kek_id.encode(),
        f"check:{stand.custody.kek_id}".encode(): value.encode(),
        b"states": (states := stand.value(stand.top("keyring"))[b"states"]),
        f"seal:{stand.custody.kek_id}".encode(): stand.custody.check_values(
            "keks", INSTALLATION, states.decode()
        )[stand.custody.kek_id].encode(),
    }
    layout = stand.value(stand.top("layout"))
    assert set(stand.contents()) == {stand.top("keyring"), stand.top("layout")}
    assert (layout[b"number"], layout[b"minimum"]) == (b"3", b"3")
    assert layout[b"installation"] == INSTALLATION.encode()
    assert set(layout) == {
        b"number", b"minimum", b"installation", b"changed_at", b"release", b"seal",
    }  # fmt: skip


def test_later_workers_with_the_same_keyring_change_nothing(stand: Stand) -> None:
    stand.first.admit()
    with stand.untouched():
        assert stand.first.admit() == "/kmworker"
        assert stand.store().admit() == "/kmworker"


def test_the_first_source_is_remembered_whatever_the_setting_says_later(stand: Stand) -> None:
    assert stand.store(source="/first").admit() == "/first"
    assert stand.store(source="/second").admit() == "/first"
    assert stand.first.admit() == "/first"


def test_another_keyring_is_refused_and_writes_nothing(stand: Stand) -> None:
    stand.first.admit()
    with stand.untouched():
        words = refusal(stand.store(custody=OTHER_CUSTODY))
        assert (
            words
            == f"the store's records are under KEK {stand.custody.kek_id}, which this keyring lacks"
        )


def test_a_kek_in_the_keyring_that_the_store_does_not_know_changes_nothing(stand: Stand) -> None:
    stand.first.admit()
    with stand.untouched():
        newer = stand.store(custody=NEWER_CUSTODY)
        assert newer.admit() == "/kmworker"
    newer.commit([Drafts(stand.custody.kek_id).create(volume("v1"))]).result()
    assert stand.custody.kek_id.encode() in stand.value(stand.key("p1", "items"))[b"volume:v1"]


ALTERATIONS: dict[str, Callable[[Stand, str, str], object]] = {
    "value": lambda stand, key, kek_id: stand.raw.hset(key, f"check:{kek_id}", "0" * 64),
    "empty": lambda stand, key, kek_id: stand.raw.hset(key, f"check:{kek_id}", ""),
    "source": lambda stand, key, _: stand.raw.hset(key, "source", "/forged"),
    "anothers": lambda stand, key, kek_id: stand.raw.hset(
        key,
        f"check:{kek_id}",
        stand.custody.check_values("keyring", INSTALLATION, "/other")[kek_id],
    ),
    "of-another-installation": lambda stand, key, kek_id: stand.raw.hset(
        key, f"check:{kek_id}", stand.custody.check_values("keyring", "x", "/kmworker")[kek_id]
    ),
}


@pytest.mark.parametrize("alter", ALTERATIONS.values(), ids=ALTERATIONS)
def test_an_altered_keyring_record_is_refused(
    stand: Stand, alter: Callable[[Stand, str, str], object]
) -> None:
    stand.first.admit()
    alter(stand, stand.top("keyring"), stand.custody.kek_id)
    with stand.untouched():
        words = refusal(stand.first)
        assert f"{stand.top('keyring')} has been altered" in words
        assert stand.custody.kek_id in words


@pytest.mark.parametrize("parked", [False, True], ids=["record", "waiting-event"])
def test_records_without_the_keyring_that_they_belong_to_are_refused(
    stand: Stand, parked: bool
) -> None:
    stand.first.admit()
    write = draft.park(volume("v1"), snapshot("s1")) if parked else draft.none(volume("v1"))
    stand.commit(write)
    for gone in (["keyring"], ["layout"], ["keyring", "layout"]):
        kept = {name: stand.value(stand.top(name)) for name in gone}
        stand.raw.delete(*map(stand.top, gone))
        with stand.untouched():
            words = refusal(stand.first)
            assert words.startswith("the store has records, but ")
            assert all(stand.top(name) in words for name in gone)
        for name, fields in kept.items():
            stand.raw.hset(stand.top(name), mapping=fields)


def test_a_source_without_its_check_values_is_refused_and_gets_no_new_ones(stand: Stand) -> None:
    stand.first.admit()
    stand.raw.hdel(stand.top("keyring"), f"check:{stand.custody.kek_id}")
    stand.raw.hset(stand.top("keyring"), "source", "/forged")
    with stand.untouched():
        assert "no check value tells whose it is" in refusal(stand.first)


# --- which layout -----------------------------------------------------------------------


def laid(stand: Stand, **changes: Any) -> None:
    """Write the layout as someone who holds the keyring could."""
    ours = Layout(NUMBER, MINIMUM, INSTALLATION, "2026-11-23T16:00:00Z", "9.0")
    fields = fields_of(replace(ours, **changes), stand.custody)
    stand.raw.hset(stand.top("layout"), mapping=dict(zip(fields[::2], fields[1::2], strict=True)))


@pytest.mark.parametrize(
    ("numbers", "says", "hint"),
    [
        pytest.param(
            {"number": 4, "minimum": 4}, "the store is of layout 4, and kmworker ",
            "use kmworker 9.0 or newer", id="only later releases may use it",
        ),
        pytest.param(
            {"number": 1}, "the store's change to layout 3 is not finished",
            "finish it: kmworker migrate", id="a migration is under way",
        ),
        pytest.param(
            {"number": 2, "minimum": 2},
            "the store is of layout 2, and this release needs layout 3",
            "end all workers, back the store up, and run: kmworker migrate", id="a former layout",
        ),
    ],
)  # fmt: skip
def test_a_layout_that_is_not_this_releases_is_refused_with_what_to_do(
    stand: Stand, numbers: dict[str, int], says: str, hint: str
) -> None:
    stand.first.admit()
    laid(stand, **numbers)
    with pytest.raises(SetupError) as refused:
        stand.first.admit()
    assert str(refused.value).startswith(says)
    assert refused.value.hint == hint


def test_a_newer_layout_that_this_release_may_use_is_admitted_and_remembered(stand: Stand) -> None:
    stand.first.admit()
    assert not stand.first.layout_is_newer()
    laid(stand, number=4)
    assert stand.first.admit() == "/kmworker"
    assert stand.first.layout_is_newer()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("number", "2"),
        ("minimum", "1"),
        ("installation", "00000000-0000-4000-8000-000000000000"),
        ("release", "0.0"),
        ("changed_at", ""),
        ("seal", ""),
        ("seal", b"\xff"),
        ("more", "x"),
    ],
)
def test_an_altered_layout_is_refused(stand: Stand, field: str, value: str | bytes) -> None:
    stand.first.admit()
    stand.raw.hset(stand.top("layout"), field, value)
    with stand.untouched():
        assert refusal(stand.first) == f"{stand.top('layout')} has been altered: its seal is wrong"


def test_the_layout_of_another_store_under_the_same_keyring_is_refused(stand: Stand) -> None:
    stand.first.admit()
    laid(stand, installation="another installation")
    assert "has been altered: its source does not fit" in refusal(stand.first)


def test_records_of_another_store_under_the_same_keyring_are_of_no_use_here(stand: Stand) -> None:
    """Items, keys, scopes and DEKs with both hashes: then it is a copy; without, it is forged."""
    stand.put(draft.create(volume("v1")))
    other = KeyringCustody(KEYRING, "another installation")
    for key in ("items", "keys", "scopes"):
        for field in stand.value(stand.key("p1", key)):
            stand.rewrite("p1", key, field.decode(), custody=other)
    state = stand.look_up(volume("v1"))[volume("v1")]
    assert isinstance(state, Broken)
    assert "fails authentication" in state.detail


# --- two first workers ------------------------------------------------------------------


class MeanwhileAt:
    """Lets another worker be admitted, wholly, before one of a worker's round trips."""

    def __init__(self, stand: Stand, other: RedisStore, at: int) -> None:
        self.tap = stand.tap()
        self.tap.before_trip = lambda _: self._count()
        self.outcome: str | None = None
        self._left = at
        self._other = other

    def _count(self) -> None:
        self._left -= 1
        if self._left == -1:
            self.outcome = outcome(self._other)

    @property
    def came(self) -> bool:
        return self.outcome is not None


def outcome(store: RedisStore) -> str:
    try:
        return store.admit()
    except SetupError:
        return "refused"
    except StoreUnavailable:
        return "once more"


# More than an admission has; those beyond its end show that it was interrupted everywhere.
TRIPS = range(12)


@pytest.mark.parametrize("at", TRIPS)
def test_two_first_workers_at_once_agree_on_the_source(stand: Stand, at: int) -> None:
    meanwhile = MeanwhileAt(stand, stand.store(source="/second"), at)
    first = stand.store(meanwhile.tap, source="/first")
    came_first = outcome(first)
    if came_first == "once more":
        came_first = outcome(first)
    came_second = meanwhile.outcome or "/first"
    assert came_first == came_second == stand.store(source="/third").admit()
    assert came_first in {"/first", "/second"}


@pytest.mark.parametrize("at", TRIPS)
def test_of_two_first_workers_with_two_keyrings_one_is_admitted_and_stays_so(
    stand: Stand, at: int
) -> None:
    other = stand.store(custody=OTHER_CUSTODY)
    meanwhile = MeanwhileAt(stand, other, at)
    one = stand.store(meanwhile.tap)
    outcomes = [outcome(one), meanwhile.outcome or "refused"]
    assert sorted(outcomes) == ["/kmworker", "refused"]
    # The loser has left nothing that would keep the winner out tomorrow.
    assert [outcome(one), outcome(other)] == outcomes
    assert len(stand.value(stand.top("keyring"))) == 5


def test_an_admission_that_is_cut_off_anywhere_can_be_had_again(stand: Stand) -> None:
    for at in TRIPS:
        stand.clear()
        tap, left = stand.tap(), iter(range(99))

        def cut(_commands: object, left: object = left, at: int = at) -> None:
            if next(left) == at:  # type: ignore[call-overload]
                raise redis.ConnectionError

        tap.before_trip = cut
        assert outcome(stand.store(tap)) in {"once more", "/kmworker"}
        assert outcome(stand.store()) == "/kmworker"
        assert outcome(stand.store(custody=OTHER_CUSTODY)) == "refused"
