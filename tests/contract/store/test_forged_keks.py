"""A record under a KEK that nobody has is forged: it stops neither workers nor janitors."""

import pytest

from kmworker.clock import rfc3339
from kmworker.domain.model import Place
from kmworker.domain.retention import Moment
from kmworker.errors import UnknownKek
from kmworker.janitor.project import PassResult, ProjectPass
from kmworker.store.records import RecordCodec
from kmworker.store.retention import RedisRetention
from tests.kit.builders import event_of, release_of
from tests.kit.store.builders import CUSTODY, OTHER_CUSTODY, volume
from tests.kit.store.key_life import keys_unsaid
from tests.kit.store.playing import DAYS_30_S, play
from tests.kit.store.stand import Stand

V, W = volume("v1"), volume("w1")


@pytest.fixture(autouse=True)
def due(stand: Stand) -> None:
    """One key-id is due, and another item is there."""
    stand.first.admit()
    play(stand, event_of(V), event_of(W))
    play(stand, release_of(V))
    stand.clock.sleep(DAYS_30_S + 1)


def tidy(stand: Stand) -> PassResult:
    now = stand.clock.now()
    views = stand.views("janitor")
    # As `build_janitor` has it: who asks the store's keyring.
    codec = RecordCodec(CUSTODY, lambda kek_id: kek_id in views.keyring()["kek_ids"])
    return ProjectPass(
        RedisRetention(views, codec), "p1", Moment(rfc3339(now), rfc3339(now + DAYS_30_S)),
        now_s=now, tombstone_s=DAYS_30_S, may_destroy=True, on_page=lambda _size: None,
    ).run()  # fmt: skip


@pytest.mark.parametrize("key", ["items", "keys"])
def test_it_keeps_the_rest_of_its_project_from_being_destroyed(stand: Stand, key: str) -> None:
    held = stand.known(W)
    field = W.ref if key == "items" else str(held.assignment.key_id)
    stand.rewrite("p1", key, field, custody=OTHER_CUSTODY)
    assert tidy(stand) == PassResult(stopped=1)
    assert stand.raw.hlen(stand.secret("p1", "deks")) == 2


def test_one_under_a_kek_that_the_janitor_lacks_is_waited_for(stand: Stand) -> None:
    stand.rewrite("p1", "items", W.ref, custody=OTHER_CUSTODY)
    stand.register(OTHER_CUSTODY)
    with pytest.raises(UnknownKek):
        tidy(stand)


def test_in_an_outbox_it_keeps_nothing_else_from_being_announced(stand: Stand) -> None:
    (field,) = stand.value(stand.key("p1", "outbox"))
    key_id = field.decode().partition(" ")[0]
    record = stand.raw.hget(stand.key("p1", "outbox"), field)
    body = CUSTODY.check_seal(Place("p1", "keys", key_id), record)
    other = f"{'0' * 8}{key_id[8:]} 2"
    forged = OTHER_CUSTODY.seal(Place("p1", "keys", other.partition(" ")[0]), body)
    stand.raw.hset(stand.key("p1", "outbox"), other, forged)
    assert [it.key.key_id for it in keys_unsaid(stand)] == [key_id]
