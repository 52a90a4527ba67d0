"""Lives and keys of several projects, told to a real worker, changed by people, and ended."""

import pytest

from tests.integration.outside.conftest import NewSite
from tests.integration.outside.test_outside import seed_name
from tests.kit.outside.lives.ending import (
    Safe,
    check_inventory,
    check_said_again,
    check_shown,
    check_verified,
)
from tests.kit.outside.lives.playing import playing
from tests.kit.outside.stage import reproducible, seeds

DEADLINE_S = 12
SETTINGS = {"KMWORKER_RETENTION__DESTROY_AFTER_DAYS": "0"}


@pytest.mark.parametrize("seed", seeds(51), ids=seed_name)
def test_random_lives_leave_exactly_the_contract(new_site: NewSite, seed: int) -> None:
    site = new_site(deadline_s=DEADLINE_S, **SETTINGS)
    with reproducible(seed), playing(site, seed) as player:
        safe = Safe(player)
        player.play(30, 0)
        player.play(25, 4)
        # What is taken out now is compared with what is there in the end.
        safe.look()
        player.play(25, 4, kill=True)
        player.let_time_pass()
        player.play(25, 5)
        player.play(20, 5, kill=True)
        player.let_time_pass()
        player.play(20, 5)
        safe.look()
        check_shown(player)
        check_said_again(player)
        check_inventory(player)
        check_verified(player)


@pytest.mark.parametrize("seed", seeds(61), ids=seed_name)
def test_two_workers_that_race_leave_the_same(new_site: NewSite, seed: int) -> None:
    site = new_site(deadline_s=2 * DEADLINE_S, **SETTINGS)
    with reproducible(seed), playing(site, seed, workers=2) as player:
        player.play(40, 0)
        player.play(40, 3, kill=True)
        player.play(30, 3)
        Safe(player).look()
        check_verified(player)
