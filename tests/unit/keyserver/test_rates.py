"""How often a client may ask, and when it may not at all."""

from kmworker.keyserver.rates import BARRED_S, Rates
from tests.kit.simulator.clock import SettableClock


def test_who_is_barred_is_heard_again_after_a_while_and_others_all_the_time() -> None:
    clock = SettableClock()
    rates = Rates(1.0, 3, clock.monotonic)
    rates.bar("a")
    clock.advance(BARRED_S - 0.1)
    assert not rates.may_ask("a")
    assert rates.may_ask("b")
    # What it is refused does not bar it for longer.
    clock.advance(1.1)
    assert rates.may_ask("a")
    assert not rates.may_ask("a")
