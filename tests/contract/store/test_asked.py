"""What key servers remember of requests: the same for all of them, for as long as it matters."""

from hashlib import sha256
from typing import Any, Final
from unittest.mock import Mock

from kmworker.delegation.requests import FRESH_S
from kmworker.store.delegating import DelegationStore
from kmworker.store.remembering import RememberingCodec
from kmworker.wire.answers.bodies import Asked
from tests.kit.store.key_servers import unwatched
from tests.kit.store.stand import Stand

MARGIN_S: Final = 120


def asked(request_id: str, body: bytes = b"{}") -> Asked:
    return Asked(request_id, sha256(body).hexdigest(), "p1", None, None)


def key_server(stand: Stand) -> DelegationStore:
    """One key server's; who may use the store at all is not asked here."""
    nobody: Any = Mock(side_effect=AssertionError)
    codec = RememberingCodec(stand.custody)
    return unwatched(stand, stand.client("keyserver"), codec, nobody)


def test_a_request_is_the_same_to_all_key_servers(stand: Stand) -> None:
    first, second = key_server(stand), key_server(stand)
    assert first.note([("a", asked("1")), ("a", asked("2"))]).result() == [True, True]
    again = [("a", asked("1")), ("a", asked("2", b"[]")), ("b", asked("1"))]
    assert second.note(again).result() == [False, None, True]
    assert second.note([]).result() == []


def test_it_is_remembered_for_as_long_as_it_can_be_sent_again_and_no_longer(stand: Stand) -> None:
    key_server(stand).note([("a", asked("1"))]).result()
    (name,) = stand.raw.keys(f"{stand.prefix}:asked:*")
    assert 2 * FRESH_S <= stand.raw.ttl(name) <= 2 * FRESH_S + MARGIN_S


def test_what_a_request_costs_is_bounded_whatever_its_client_chooses(own: Stand) -> None:
    number = 2_000
    key_server(own).note([("a", asked("before all others"))]).result()
    before = own.raw.info("memory")["used_memory_dataset"]
    requests = [("a" * 128, asked(f"{it:0128}")) for it in range(number)]
    key_server(own).note(requests).result()
    grown = own.raw.info("memory")["used_memory_dataset"] - before
    # Some 200, as docs/delegating.md says; and what the test's longer prefix adds.
    assert 100 < grown / number < 250


def test_what_was_put_in_its_place_is_other_bytes_and_nobody_elses_trouble(stand: Stand) -> None:
    key_server(stand).note([("a", asked("1"))]).result()
    (name,) = stand.raw.keys(f"{stand.prefix}:asked:*")
    stand.raw.delete(name)
    stand.raw.rpush(name, "x")
    both = [("a", asked("1")), ("b", asked("2"))]
    assert key_server(stand).is_first(both) == [None, True]
    assert key_server(stand).note(both).result() == [None, True]
