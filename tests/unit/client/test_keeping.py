"""`Keys` that keep copies, beside a broker that withholds, repeats, and comes back."""

import json
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import Empty, Queue
from typing import Any, Final

import pytest

from kmworker.client import keys as keys_module
from kmworker.client.copies import Copies, GivenUp
from kmworker.client.keys import KeyRefused, Keys, NoAnswer
from kmworker.delegation.signing import digest_of
from kmworker.domain.keys import Encryption, KeyState
from kmworker.domain.message import Original, Outgoing
from kmworker.domain.model import Item, Kind
from kmworker.errors import BrokerUnavailable
from kmworker.wire.answers.bodies import Asked, Delivered, Revoked
from kmworker.wire.answers.messages import Refusal, Revoking
from tests.kit.builders import volume
from tests.kit.polling import until
from tests.unit.keyserver.world import DEK, ENROLMENT, IDENTITY, KEY_ID, NAME, SIGNER

V: Final = volume("v1")
LIFE_S: Final = 1_000.0
SOON_S: Final = 5.0
XTS: Final = Encryption("aes-xts-plain64", 512)


def after(seconds: float) -> str:
    """Return a time of the key server's, which is ours."""
    at = datetime.now(UTC) + timedelta(seconds=seconds)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class KeyServer:
    """The other end: answers what is asked, unless it is away."""

    def __init__(self) -> None:
        self.is_open = False
        self.own_queues: tuple[str, ...] = ()
        self.asked: list[dict[str, Any]] = []
        self.refusal: Refusal | None = None
        self.answers = True
        self.later_s = 0.0
        """How much later it delivers than it is, by its own clock."""
        self.is_away = False
        self.arrived: Queue[Original] = Queue()
        self._taken: deque[Original] = deque()

    def inquire(self, _name: str, own_queues: Any) -> "KeyServer":
        self.own_queues = tuple(own_queues)
        return self

    def open(self) -> None:
        if self.is_away:
            raise BrokerUnavailable("away")
        self.is_open = True

    def close(self) -> None:
        self.is_open = False

    def ask(self, question: Outgoing) -> None:
        request = json.loads(question.body)
        self.asked.append(request["data"])
        if not self.answers:
            return
        data = request["data"]
        item = Item(data["project_id"], Kind(data["item"]["kind"]), data["item"]["id"])
        asked = Asked(request["id"], digest_of(question.body), item.project, item, None)
        if self.refusal is not None:
            answer = SIGNER.refuse(asked, NAME, self.refusal, at=after(self.later_s))
        else:
            delivered = Delivered(KEY_ID, XTS, KeyState.ACTIVE, after(self.later_s + LIFE_S))
            answer = SIGNER.deliver(
                asked, NAME, IDENTITY.public, delivered, DEK, at=after(self.later_s)
            )
        self.arrived.put(Original(answer.body, "", answer.properties))

    def revoke(self, message_id: str, seconds: float = 1.0) -> None:
        """Tell that the volume is detached."""
        revoked = Revoked(V.project, V, "a1", KEY_ID, Revoking.DETACHED)
        said = SIGNER.revoke(message_id, NAME, revoked, at=after(seconds))
        self.arrived.put(Original(said.body, "", said.properties))

    def wait(self, timeout_s: float) -> None:
        try:
            found = self.arrived.get(timeout=min(timeout_s, 0.02))
        except Empty:
            return
        self._taken.append(found)

    def take(self) -> list[Original]:
        if not self.is_open:
            raise BrokerUnavailable("gone")
        return [self._taken.popleft() for _ in range(len(self._taken))]


class Clock:
    """Ours: as long as the machine runs."""

    def __init__(self) -> None:
        self.now_s = 10.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(keys_module, "boottime", made)
    monkeypatch.setattr(keys_module, "Copies", lambda grace_s: Copies(grace_s, now=made))
    return made


@pytest.fixture
def server() -> KeyServer:
    return KeyServer()


@pytest.fixture
def given_up() -> "Queue[GivenUp]":
    return Queue()


@pytest.fixture
def make(
    tmp_path: Path, server: KeyServer, clock: Clock, given_up: "Queue[GivenUp]"
) -> Iterator[Callable[..., Keys]]:
    assert clock.now_s
    IDENTITY.write(tmp_path / "identity.json")
    ENROLMENT.write(tmp_path / "enrolment.json")
    made: list[Keys] = []

    def keys(**more: Any) -> Keys:
        made.append(Keys(
            "amqp://none.invalid", identity=tmp_path / "identity.json",
            enrolment=tmp_path / "enrolment.json", inquire=server.inquire,
            **{"keep": True, "on_given_up": given_up.put, "deadline_s": 0.3, **more},
        ))  # fmt: skip
        return made[-1]

    yield keys
    for it in made:
        it.close()


def got(keys: Keys) -> bytes:
    with keys.get(V) as delivered:
        return bytes(delivered.key.view)


def test_a_key_is_asked_for_once_and_then_it_is_there(
    make: Callable[..., Keys], server: KeyServer
) -> None:
    keys = make()
    assert [got(keys), got(keys)] == 2 * [DEK]
    assert len(server.asked) == 1
    assert len(server.own_queues) == 8


def test_who_keeps_nothing_asks_each_time_and_has_no_queue(
    make: Callable[..., Keys], server: KeyServer
) -> None:
    keys = make(keep=False)
    assert [got(keys), got(keys)] == 2 * [DEK]
    assert len(server.asked) == 2
    assert server.own_queues == ()


def test_it_is_wiped_when_it_is_revoked_and_a_repeat_is_none(
    make: Callable[..., Keys], server: KeyServer, given_up: "Queue[GivenUp]"
) -> None:
    keys = make()
    got(keys)
    message_id = "7d793037-a076-4ca6-8f0d-0a1b2c3d4e5f"
    server.revoke(message_id)
    assert given_up.get(timeout=SOON_S) == GivenUp(V, KEY_ID, Revoking.DETACHED)
    server.later_s = 60.0
    got(keys)
    asked = len(server.asked)
    server.revoke(message_id)
    until(server.arrived.empty, "it has come")
    assert got(keys) == DEK
    assert given_up.empty()
    assert len(server.asked) == asked


def test_a_delivery_of_before_the_end_is_asked_for_once_more_and_not_kept(
    make: Callable[..., Keys], server: KeyServer, given_up: "Queue[GivenUp]"
) -> None:
    keys = make()
    got(keys)
    server.revoke("7d793037-a076-4ca6-8f0d-0a1b2c3d4e5f", 60.0)
    assert given_up.get(timeout=SOON_S).cause is Revoking.DETACHED
    asked = len(server.asked)
    assert [got(keys), got(keys)] == 2 * [DEK]
    assert len(server.asked) == asked + 4
    server.answers = False
    with pytest.raises(NoAnswer):
        keys.get(V)


def test_a_broker_that_withholds_everything_gains_the_copy_s_time_and_no_more(
    make: Callable[..., Keys], server: KeyServer, clock: Clock, given_up: "Queue[GivenUp]"
) -> None:
    keys = make()
    got(keys)
    # Whatever has ended: neither is it told, nor is anything that it asks answered.
    server.answers = False
    clock.now_s += LIFE_S - 2
    assert got(keys) == DEK
    until(lambda: len(server.asked) > 1, "it asks whether it may keep it")
    assert server.asked[-1]["held"] == KEY_ID
    clock.now_s += 2
    assert given_up.get(timeout=SOON_S).cause is Revoking.EXPIRED
    with pytest.raises(NoAnswer):
        keys.get(V)


def test_in_grace_it_is_used_where_nobody_answers_and_not_where_it_is_refused(
    make: Callable[..., Keys], server: KeyServer, clock: Clock, given_up: "Queue[GivenUp]"
) -> None:
    keys = make(grace_s=100.0)
    got(keys)
    server.answers = False
    clock.now_s += LIFE_S + 50
    assert got(keys) == DEK
    server.answers, server.refusal = True, Refusal.SUSPENDED
    with pytest.raises(KeyRefused):
        keys.get(V)
    assert given_up.get(timeout=SOON_S).cause is Refusal.SUSPENDED
    server.answers = False
    with pytest.raises(NoAnswer):
        keys.get(V)


def test_on_a_new_connection_it_asks_before_it_uses_anything(
    make: Callable[..., Keys], server: KeyServer, given_up: "Queue[GivenUp]"
) -> None:
    keys = make()
    got(keys)
    server.is_away, server.refusal = True, Refusal.NOT_GRANTED
    server.is_open = False
    assert got(keys) == DEK
    server.is_away = False
    assert given_up.get(timeout=SOON_S).cause is Refusal.NOT_GRANTED
    assert server.asked[-1]["held"] == KEY_ID


@pytest.mark.parametrize("refusal", [Refusal.TRY_LATER, Refusal.REUSED_ID, Refusal.STALE_REQUEST])
def test_refusals_that_end_nothing_leave_the_copy(
    make: Callable[..., Keys], server: KeyServer, given_up: "Queue[GivenUp]", refusal: Refusal
) -> None:
    keys = make()
    got(keys)
    server.refusal = refusal
    keys._connected()
    until(lambda: len(server.asked) > 1, "it has asked")
    server.answers = False
    assert got(keys) == DEK
    assert given_up.empty()


def test_what_the_caller_does_when_it_is_told_ends_no_thread(
    make: Callable[..., Keys], server: KeyServer, given_up: "Queue[GivenUp]",
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def fail(it: GivenUp) -> None:
        given_up.put(it)
        raise RuntimeError("the caller's own")

    keys = make(on_given_up=fail)
    for number in range(2):
        got(keys)
        server.revoke(f"7d793037-a076-4ca6-8f0d-00000000000{number}", server.later_s + 1)
        assert given_up.get(timeout=SOON_S).cause is Revoking.DETACHED
        server.later_s += 60.0
    until(lambda: caplog.text.count("on_given_up has failed") == 2, "it is logged")


def test_when_it_is_closed_nothing_is_kept_and_no_thread_goes_on(
    make: Callable[..., Keys], server: KeyServer
) -> None:
    keys = make()
    got(keys)
    buffer = keys._copies._copies[V].delivered.key
    threads = list(keys._keeping._threads)
    keys.close()
    assert buffer.is_wiped
    assert not any(it.is_alive() for it in threads)
    assert not server.is_open
