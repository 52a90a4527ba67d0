"""What is under each KEK, counted slowly: every record once, in whatever pages."""

import pytest

from kmworker.crypto import KeyringCustody
from kmworker.store.spread import EVERY_S, Spread
from kmworker.store.wraps import FIRST_BLOCK
from tests.kit.store.builders import (
    AT_S,
    INSTALLATION,
    KEYRING,
    OTHER_KEYRING,
    draft,
    held,
    snapshot,
    volume,
)
from tests.kit.store.stand import Stand
from tests.kit.store.wiretap import Wiretap

OLD, NEW = KEYRING.newest, OTHER_KEYRING.newest


@pytest.fixture(autouse=True)
def admitted(stand: Stand) -> None:
    """A worker was there: it has written which KEKs there are."""
    stand.first.admit()


def spread_of(stand: Stand, client: Wiretap | None = None) -> Spread:
    names = stand.views().names
    return Spread(client or stand.client(), names, "w1", stand.clock.monotonic)


def counted(stand: Stand, spread: Spread | None = None) -> dict[str, int]:
    """Count to the end, and return what dashboards see."""
    one = spread or spread_of(stand)
    while one.step_if_due(AT_S):
        """It is not at its end."""
    found = stand.value(stand.top("totals"))
    assert found.pop(b"keks_counted_at") == str(AT_S).encode()
    return {name.decode(): int(number) for name, number in found.items()}


def fill(stand: Stand, *projects: str) -> None:
    """Have in each two scopes with three key-ids, four items and an event that waits."""
    for project in projects:
        one = draft.create(volume("v1", project))
        stand.commit(
            one,
            draft.clone(volume("v2", project), held(one)),
            draft.reuse(snapshot("s1", project), held(one)),
            draft.create(volume("v3", project)),
            draft.park(volume("v9", project), snapshot("s9", project)),
        )


def test_every_sealed_record_and_dek_is_counted_with_its_kek(stand: Stand) -> None:
    fill(stand, "p1", "p2")
    assert counted(stand) == {
        f"records:{OLD}": 2 * (4 + 3 + 2 + 1), f"deks:{OLD}": 4, f"projects:{OLD}": 2,
        # Reserved, and found again in the other project.
        f"wraps:{OLD}": FIRST_BLOCK - 2,
        "records:unknown": 0, "deks:unknown": 0, "projects:unknown": 0,
    }  # fmt: skip


def test_what_is_rewrapped_is_counted_with_the_kek_that_it_is_under_then(stand: Stand) -> None:
    fill(stand, "p1")
    stand.register(KeyringCustody(OTHER_KEYRING, INSTALLATION))
    before = counted(stand)
    assert (before[f"records:{NEW}"], before[f"wraps:{NEW}"]) == (0, 0)
    item = stand.raw.hget(stand.key("p1", "items"), "volume:v1")
    moved = item.replace(f"v2.{OLD}".encode(), f"v2.{NEW}".encode())
    stand.raw.hset(stand.key("p1", "items"), "volume:v1", moved)
    stand.clock.sleep(EVERY_S)
    stand.raw.delete(stand.top("lease:spread"))
    after = counted(stand)
    assert (after[f"records:{OLD}"], after[f"records:{NEW}"]) == (before[f"records:{OLD}"] - 1, 1)
    assert (after[f"projects:{OLD}"], after[f"projects:{NEW}"]) == (1, 1)


@pytest.mark.parametrize("text", ["text", "", '{"kek_id":"0000000000000000"}', "x" * 100])
def test_records_of_no_kek_that_the_store_knows_are_shown_together(stand: Stand, text: str) -> None:
    fill(stand, "p1")
    for key in ("items", "scopes"):
        stand.raw.hset(stand.key("p1", key), "forged", text)
    found = counted(stand)
    assert found["records:unknown"] == 2
    assert found["deks:unknown"] == 1
    assert found["projects:unknown"] >= 1
    assert found[f"records:{OLD}"] == 10


def test_a_scope_without_its_dek_is_a_record_and_no_dek(stand: Stand) -> None:
    fill(stand, "p1")
    (scope_id, *_more) = stand.value(stand.key("p1", "scopes"))
    stand.rewrite("p1", "scopes", scope_id.decode(), destroyed_at="2026-01-01T00:00:00.000Z")
    found = counted(stand)
    assert (found[f"deks:{OLD}"], found[f"records:{OLD}"]) == (1, 10)


def test_a_large_project_is_counted_by_pages_and_each_record_once(stand: Stand) -> None:
    writes = [draft.create(volume(f"v{number}")) for number in range(1500)]
    for at in range(0, 1500, 500):
        stand.commit(*writes[at : at + 500])
    tap = stand.tap()
    found = counted(stand, spread_of(stand, tap))
    assert (found[f"records:{OLD}"], found[f"deks:{OLD}"]) == (4500, 1500)
    looks = [trip for trip in tap.trips if trip[0][0] in {"EVALSHA", "EVAL"}]
    assert len(looks) >= 4


def test_many_projects_are_counted_a_few_at_a_time(stand: Stand) -> None:
    fill(stand, *(f"p{number}" for number in range(5)))
    stand.raw.sadd(stand.top("projects"), *(f"empty{number}" for number in range(500)))
    tap = stand.tap()
    assert counted(stand, spread_of(stand, tap))[f"deks:{OLD}"] == 10
    assert max(len(trip) for trip in tap.trips) <= 250


def test_wraps_of_another_project_are_none_of_the_one_that_has_most(stand: Stand) -> None:
    fill(stand, "p1")
    stand.raw.hset(stand.key("p2", "stats"), f"wraps:{OLD}", 500)
    stand.raw.sadd(stand.top("projects"), "p2")
    stand.raw.hset(stand.top("wraps"), OLD, 600)
    # All that is not found in p1 may be of p2.
    assert counted(stand)[f"wraps:{OLD}"] == 600 - 2


def test_where_nothing_is_reserved_there_are_as_many_wraps_as_deks(stand: Stand) -> None:
    fill(stand, "p1")
    stand.raw.delete(stand.top("wraps"), stand.key("p1", "stats"))
    assert counted(stand)[f"wraps:{OLD}"] == 2


@pytest.mark.parametrize("key", ["items", "scopes", "stats", "outbox"])
def test_a_projects_key_of_the_wrong_type_does_not_stop_the_count(stand: Stand, key: str) -> None:
    fill(stand, "p1", "p2")
    stand.spoil(stand.key("p1", key))
    assert counted(stand)[f"deks:{OLD}"] == (2 if key == "scopes" else 4)


def test_one_worker_counts_and_the_next_count_is_a_minute_later(stand: Stand) -> None:
    fill(stand, "p1")
    counted(stand)
    lease = stand.top("lease:spread")
    assert 50_000 < stand.raw.pttl(lease) <= 54_000
    assert not spread_of(stand).step_if_due(AT_S)
