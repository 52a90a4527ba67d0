"""A janitor that is told to stop does so amid a count, and leaves the project to others."""

from typing import Any

import pytest

from kmworker.clock import StoreClock
from kmworker.domain.keks import KeyringFlaw, KeyringTrouble
from kmworker.janitor.loop import JanitorLoop
from kmworker.settings import JanitorSettings, RetentionSettings
from kmworker.store.records import RecordCodec
from kmworker.store.retention import RedisRetention
from kmworker.store.views.janitor import read_janitor
from tests.kit.builders import event_of, release_of
from tests.kit.polling import until
from tests.kit.store.builders import CUSTODY, volume
from tests.kit.store.playing import DAYS_30_S, play
from tests.kit.store.stand import Stand

V, W = volume("v1"), volume("w1")


@pytest.fixture(autouse=True)
def due(stand: Stand) -> None:
    """One key-id is due."""
    stand.first.admit()
    play(stand, event_of(V), event_of(W))
    play(stand, release_of(V))
    stand.clock.sleep(DAYS_30_S + 1)


def janitor(stand: Stand, name: str, **more: Any) -> JanitorLoop:
    return JanitorLoop(
        RedisRetention(stand.views("janitor"), RecordCodec(CUSTODY)),
        lambda: True,
        StoreClock(stand.clock),
        stand.clock.now,
        janitor_id=name,
        kek_ids=lambda: [CUSTODY.kek_id],
        keeping=RetentionSettings(),
        settings=JanitorSettings(),
        deadline_s=60.0,
        **more,
    )


def test_one_that_is_told_to_stop_ends_after_the_page_at_hand(stand: Stand) -> None:
    pages: list[JanitorLoop] = []

    def stop() -> None:
        pages.append(leaving)
        leaving.stop()

    leaving: JanitorLoop = janitor(stand, "j1", on_step=stop)
    assert leaving.look(waits=True).destroyed == 0
    assert len(pages) == 1
    # And whoever comes next need not wait until its lease has run out.
    following = janitor(stand, "j2")
    until(lambda: following.look(waits=True).destroyed == 1, "it is destroyed", within_s=10)


def test_a_janitor_reports_that_its_keyring_file_is_not_taken_up(stand: Stand) -> None:
    trouble = KeyringTrouble(KeyringFlaw.UNUSABLE, 17.0)
    janitor(stand, "j1", keyring_trouble=lambda: trouble).look(waits=True)
    seen = read_janitor(stand.views("dashboard"))
    assert seen is not None
    assert (seen.keyring_trouble, seen.keyring_trouble_since) == ("unusable", 17.0)
    janitor(stand, "j2").look(waits=True)
    seen = read_janitor(stand.views("dashboard"))
    assert seen is not None
    assert (seen.keyring_trouble, seen.keyring_trouble_since) == ("", 0.0)
