import pytest

from kmworker.client import BrokerUnavailable, SetupError
from kmworker.client.connecting import Backoff, broker_settings, check_refusal
from kmworker.client.seen import Seen
from tests.unit.client.stub import Refusal


def test_an_embedded_installation_is_out_of_reach() -> None:
    with pytest.raises(SetupError, match="AMQP alone"):
        broker_settings("redis://127.0.0.1:6379/0", "kmworker")


@pytest.mark.parametrize(
    ("url", "namespace", "named"),
    [("amqp://u:swordfish@@x//", "kmworker", "url"), ("amqp://x", "swordfish here", "namespace")],
)
def test_a_wrong_address_is_named_but_not_repeated(url: str, namespace: str, named: str) -> None:
    with pytest.raises(SetupError, match=f"^{named}: ") as caught:
        broker_settings(url, namespace)
    assert "swordfish" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_waiting_is_drawn_from_a_range_that_doubles_up_to_a_limit() -> None:
    drawn: list[tuple[float, float]] = []

    def draw(least: float, most: float) -> float:
        drawn.append((least, most))
        return most

    backoff = Backoff(draw)
    for _ in range(2000):
        backoff.next_s()
    assert drawn[:3] == [(0, 0.1), (0, 0.2), (0, 0.4)]
    assert max(drawn) == (0, 6.4)
    backoff.reset()
    assert backoff.next_s() == 0.1


def caused_by(code: int) -> BrokerUnavailable:
    error = BrokerUnavailable("the broker's words")
    error.__cause__ = Refusal(code)
    return error


@pytest.mark.parametrize("code", [403, 406, 530])
def test_what_a_person_must_change_is_not_waited_out(code: int) -> None:
    with pytest.raises(SetupError, match="the broker's words"):
        check_refusal(caused_by(code))


@pytest.mark.parametrize("error", [caused_by(320), caused_by(404), BrokerUnavailable("gone")])
def test_what_passes_is_waited_out(error: BrokerUnavailable) -> None:
    check_refusal(error)


def test_memory_reaches_back_so_far_and_no_further() -> None:
    seen = Seen(2)
    for name in ("a", "b", "a", "c"):
        seen.add(name)
    assert [name in seen for name in "abc"] == [True, False, True]


def test_without_a_memory_nothing_is_a_repeat() -> None:
    seen = Seen(0)
    seen.add("a")
    assert "a" not in seen
