"""Recent records: how many are kept, and which."""

from kmworker.domain.model import Item
from kmworker.store.recent import Recent, RecentRecords, Sealed
from tests.kit.builders import held, volume

V1, V2, V3 = (volume(f"v{number}") for number in (1, 2, 3))


def keep(records: RecentRecords, *items: Item, size_bytes: int = 3) -> None:
    for item in items:
        records.put(Recent(held(item), Sealed(b"i" * (size_bytes - 2), b"k", b"s")))


def kept(records: RecentRecords) -> set[Item]:
    return set(records.recall([V1, V2, V3]))


def test_what_is_not_used_goes_first() -> None:
    records = RecentRecords(max_records=2)
    keep(records, V1, V2)
    assert records.recall([V1]) == {V1: held(V1)}
    keep(records, V3)
    assert kept(records) == {V1, V3}


def test_bytes_are_bounded_too_whatever_was_forgotten_or_replaced() -> None:
    records = RecentRecords(max_bytes=10)
    keep(records, V1, V1, V2, V3)
    records.forget(V3)
    assert kept(records) == {V1, V2}
    keep(records, V3, size_bytes=4)
    assert kept(records) == {V1, V2, V3}
    keep(records, V2, size_bytes=5)
    assert kept(records) == {V2, V3}


def test_records_say_only_what_they_are_kept_for() -> None:
    records = RecentRecords()
    keep(records, V1)
    assert records.sealed(held(V1, has_waiting=True)).item == b"i"
    assert records.sealed(held(V1, event_id="another")) == Sealed()
    assert records.sealed(held(V2)) == Sealed()
    records.clear()
    assert records.sealed(held(V1)) == Sealed()
