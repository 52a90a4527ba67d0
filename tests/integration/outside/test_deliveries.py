"""Volumes attached here and there, and clients that ask for their keys: random, and as modelled."""

from random import Random

import pytest

from tests.integration.outside.conftest import NewSite
from tests.integration.outside.test_outside import seed_name
from tests.kit.outside.deliveries.playing import CLIENTS, playing
from tests.kit.outside.stage import reproducible, seeds
from tests.kit.servers import RabbitMQ


@pytest.mark.parametrize("seed", seeds(71), ids=seed_name)
def test_each_client_gets_the_keys_that_it_may_have_and_no_others(
    new_site: NewSite, rabbitmq: RabbitMQ, seed: int
) -> None:
    with reproducible(seed), playing(new_site(), rabbitmq, Random(seed)) as player:
        for size in (12, 8):
            player.play(size)
        player.check_trail(exactly=True)
        player.change()
        player.play(6, kills=True)
        player.revoke(CLIENTS[1])
        player.check_exports()
        player.check_trail(exactly=False)
