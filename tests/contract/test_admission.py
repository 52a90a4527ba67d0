"""A worker uses a store only if it can lose nothing and belongs to the worker's keyring."""

from collections.abc import Callable

import pytest
import redis

from kmworker.crypto import KeyringVault
from kmworker.errors import SetupError, StoreUnavailable
from kmworker.store.redis_store import RedisStore
from tests.contract.builders import Drafts, snapshot, volume
from tests.contract.stand import Stand, StandOn
from tests.servers import Start, StoreServer

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


def test_a_durable_store_is_admitted(start: Start[StoreServer], stand_on: StandOn) -> None:
    assert stand_on(start()).store(allow_volatile=False).admit() == "/kmworker"


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


def test_a_store_that_becomes_volatile_is_refused_at_the_next_reconnection(
    start: Start[StoreServer], stand_on: StandOn
) -> None:
    stand = stand_on(start())
    store = stand.store(allow_volatile=False)
    store.admit()
    stand.raw.config_set("appendfsync", "everysec")
    assert "everysec" in refusal(store)


@pytest.mark.parametrize(
    "rights", ["~* &* +@all -config", "~* &* +@all -config|get", "~* &* +@all -@admin"]
)
def test_a_store_that_does_not_let_us_look_is_refused(
    start: Start[StoreServer], stand_on: StandOn, rights: str
) -> None:
    stand = stand_on(start())
    client = stand.client_with(rights)
    words = refusal(stand.store(client, allow_volatile=False))
    assert words == "cannot see whether the store is durable: CONFIG GET is not permitted"
    assert stand.store(client, allow_volatile=True).admit() == "/kmworker"


def test_a_store_whose_config_command_is_renamed_is_refused(
    start: Start[StoreServer], stand_on: StandOn
) -> None:
    stand = stand_on(start({"rename-command": 'CONFIG ""'}))
    assert "CONFIG GET is not permitted" in refusal(stand.store(allow_volatile=False))
    assert stand.store(allow_volatile=True).admit() == "/kmworker"


def test_a_user_that_may_look_needs_no_more_rights_than_that(
    start: Start[StoreServer], stand_on: StandOn
) -> None:
    stand = stand_on(start())
    client = stand.client_with("~{0}:* ~{0}secret:* -@all +@write +@read +@scripting"
                               " +config|get")  # fmt: skip
    assert stand.store(client, allow_volatile=False).admit() == "/kmworker"


# --- whose store it is ------------------------------------------------------------------


def test_the_first_worker_writes_whose_store_it_is(
    stand: Stand, store: RedisStore, vault: KeyringVault
) -> None:
    assert store.admit() == "/kmworker"
    assert stand.contents() == {
        stand.top("keyring"): {
            b"source": b"/kmworker",
            b"kek_ids": vault.kek_id.encode(),
            f"check:{vault.kek_id}".encode(): vault.check_values("/kmworker")[
                vault.kek_id
            ].encode(),
        }
    }


def test_later_workers_with_the_same_keyring_change_nothing(
    stand: Stand, store: RedisStore
) -> None:
    store.admit()
    before = stand.contents()
    assert store.admit() == "/kmworker"
    assert stand.store().admit() == "/kmworker"
    assert stand.contents() == before


def test_the_first_source_is_remembered_whatever_the_setting_says_later(
    stand: Stand, store: RedisStore
) -> None:
    assert stand.store(source="/first").admit() == "/first"
    assert stand.store(source="/second").admit() == "/first"
    assert store.admit() == "/first"


def test_another_keyring_is_refused_and_writes_nothing(
    stand: Stand, store: RedisStore, vault: KeyringVault, other_vault: KeyringVault
) -> None:
    store.admit()
    before = stand.contents()
    words = refusal(stand.store(vault=other_vault))
    assert words == f"the store's records are under KEK {vault.kek_id}, which this keyring lacks"
    assert stand.contents() == before


def test_a_new_kek_in_the_keyring_is_admitted_and_registered(
    stand: Stand, store: RedisStore, vault: KeyringVault, newer_vault: KeyringVault
) -> None:
    store.admit()
    assert stand.store(vault=newer_vault).admit() == "/kmworker"
    keyring = stand.value(stand.top("keyring"))
    both = sorted([vault.kek_id, newer_vault.kek_id])
    assert keyring[b"kek_ids"].decode() == " ".join(both)
    assert {k: v for k, v in keyring.items() if k.startswith(b"check:")} == {
        f"check:{kek_id}".encode(): value.encode()
        for kek_id, value in newer_vault.check_values("/kmworker").items()
    }
    assert newer_vault.kek_id in refusal(store)


ALTERATIONS: dict[str, Callable[[Stand, str, str], object]] = {
    "value": lambda stand, key, kek_id: stand.raw.hset(key, f"check:{kek_id}", "0" * 64),
    "empty": lambda stand, key, kek_id: stand.raw.hset(key, f"check:{kek_id}", ""),
    "source": lambda stand, key, _: stand.raw.hset(key, "source", "/forged"),
    "anothers": lambda stand, key, kek_id: stand.raw.hset(
        key, f"check:{kek_id}", stand.vault.check_values("/other")[kek_id]
    ),
}


@pytest.mark.parametrize("alter", ALTERATIONS.values(), ids=ALTERATIONS)
def test_an_altered_keyring_record_is_refused(
    stand: Stand,
    store: RedisStore,
    vault: KeyringVault,
    alter: Callable[[Stand, str, str], object],
) -> None:
    store.admit()
    alter(stand, stand.top("keyring"), vault.kek_id)
    before = stand.contents()
    words = refusal(store)
    assert f"{stand.top('keyring')} has been altered" in words
    assert vault.kek_id in words
    assert stand.contents() == before


@pytest.mark.parametrize("parked", [False, True], ids=["record", "waiting-event"])
def test_records_without_the_keyring_that_they_belong_to_are_refused(
    stand: Stand, store: RedisStore, draft: Drafts, parked: bool
) -> None:
    store.admit()
    write = draft.park(volume("v1"), snapshot("s1")) if parked else draft.none(volume("v1"))
    store.commit([write])
    stand.raw.delete(stand.top("keyring"))
    before = stand.contents()
    assert "has records but not the keyring they belong to" in refusal(store)
    assert stand.contents() == before


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
    stand: Stand, other_vault: KeyringVault, at: int
) -> None:
    other = stand.store(vault=other_vault)
    meanwhile = MeanwhileAt(stand, other, at)
    one = stand.store(meanwhile.tap)
    outcomes = [outcome(one), meanwhile.outcome or "refused"]
    assert sorted(outcomes) == ["/kmworker", "refused"]
    # The loser has left nothing that would keep the winner out tomorrow.
    assert [outcome(one), outcome(other)] == outcomes
    assert len(stand.value(stand.top("keyring"))) == 3


def test_an_admission_that_is_cut_off_anywhere_can_be_had_again(
    stand: Stand, other_vault: KeyringVault
) -> None:
    for at in TRIPS:
        stand.clear()
        tap, left = stand.tap(), iter(range(99))

        def cut(_commands: object, left: object = left, at: int = at) -> None:
            if next(left) == at:  # type: ignore[call-overload]
                raise redis.ConnectionError

        tap.before_trip = cut
        assert outcome(stand.store(tap)) in {"once more", "/kmworker"}
        assert outcome(stand.store()) == "/kmworker"
        assert outcome(stand.store(vault=other_vault)) == "refused"
