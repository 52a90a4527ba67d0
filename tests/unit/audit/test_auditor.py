"""The auditor: each record once, whatever ends it at whichever step."""

import json
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmworker.audit.auditor import Auditor
from kmworker.audit.checkpoints import Checkpoint
from kmworker.audit.files import TrailFiles, lines_of, segments_of
from kmworker.audit.lines import Line, read_line
from kmworker.audit.verification import verify
from kmworker.audit.verified import Verified
from kmworker.crypto.audit_key import signature_holds
from kmworker.domain.message import Delivery, Digest, Original
from kmworker.errors import BrokerUnavailable, NoRoom
from kmworker.settings import AuditSettings
from tests.kit.simulator.clock import SettableClock
from tests.kit.trails import KEY, body

DAY_S = 86_400.0


class Queue:
    """A broker's queue: what is not acknowledged comes again after a loss."""

    def __init__(self, *bodies: bytes) -> None:
        """Fill it."""
        self.generation = 0
        self.ready = deque(enumerate(bodies))
        self.sent: dict[int, bytes] = {}
        self.published: list[Checkpoint] = []
        self.is_open = False
        self.batch = 3

    def lose(self) -> None:
        """Lose the connection."""
        self.ready.extendleft(sorted(self.sent.items(), reverse=True))
        self.sent.clear()
        self.is_open = False

    def open(self) -> None:
        if not self.is_open:
            self.generation += 1
            self.is_open = True

    def receive(self, limit: int, timeout_s: float) -> list[Delivery]:
        del timeout_s
        taken: list[Delivery] = []
        while self.ready and len(taken) < min(limit, self.batch):
            tag, content = self.ready.popleft()
            self.sent[tag] = content
            original = Original(content, "record.key-delivered", {"user_id": "worker"})
            taken.append(Delivery(original, tag, self.generation, 0.0))
        return taken

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        for it in deliveries:
            assert it.generation == self.generation
            del self.sent[it.tag]

    def publish(self, checkpoint: Checkpoint) -> None:
        self.published.append(checkpoint)

    def tick(self) -> None:
        """Nothing idles here."""

    def close(self) -> None:
        self.lose()


class Killed(BaseException):
    """The process ends here, and nothing more is done."""


class Stand:
    """One folder, one queue, and auditors one after the other."""

    def __init__(self, folder: Path, queue: Queue, **settings: Any) -> None:
        """Prepare."""
        self.folder, self.queue = folder, queue
        self.clock = SettableClock()
        self.settings = AuditSettings(checkpoint_lines=4, **settings)
        self.steps: list[str] = []
        self.dies_at = -1
        self.pause_s = 0.0
        """From one turn to the next."""

    def on_step(self, step: str) -> None:
        self.steps.append(step)
        if len(self.steps) - 1 == self.dies_at:
            raise Killed

    def auditor(self) -> tuple[Auditor, TrailFiles]:
        files = TrailFiles(self.folder, KEY)
        return Auditor(self.queue, files, self.clock, self.settings, on_step=self.on_step), files

    def drain(self) -> Auditor:
        """Run one until nothing is left; what ends it ends it as SIGKILL does."""
        auditor, files = self.auditor()
        try:
            while self.queue.ready or self.queue.sent or not files.trail:
                auditor._turn()
                self.clock.sleep(self.pause_s)
        except Killed:
            self.queue.lose()
        finally:
            files.close()
        return auditor

    def lines(self) -> Iterator[Line]:
        for path in segments_of(self.folder):
            yield from map(read_line, lines_of(path))

    def kept(self) -> list[bytes]:
        return [line.body for line in self.lines() if line.kind == "record"]

    def verified(self) -> Verified:
        texts = [text for path in segments_of(self.folder) for text in lines_of(path)]
        kept = self.queue.published
        return verify(texts, kept, signature_holds, key=KEY.public, from_start=True)


BODIES = [body(number) for number in range(1, 11)]


def test_records_are_kept_as_they_came_with_who_published_them(tmp_path: Path) -> None:
    stand = Stand(tmp_path / "trail", Queue(*BODIES))
    stand.drain()
    assert stand.kept() == BODIES
    assert {it.fields["user"] for it in stand.lines() if it.kind == "record"} == {"worker"}
    assert stand.verified().is_good


def test_ended_at_any_step_each_record_is_there_once(tmp_path: Path) -> None:
    whole = Stand(tmp_path / "whole", Queue(*BODIES))
    whole.pause_s = DAY_S
    whole.drain()
    assert {"write", "acknowledge", "sign", "publish", "rotate"} == set(whole.steps)
    for step in range(len(whole.steps)):
        stand = Stand(tmp_path / f"{step}", Queue(*BODIES))
        stand.dies_at, stand.pause_s = step, DAY_S
        stand.drain()
        assert len(stand.steps) == step + 1
        stand.drain()
        assert stand.kept() == BODIES, f"ended before step {step}: {stand.steps[step]}"
        assert stand.verified().is_good


def test_what_a_writer_sends_again_is_dropped(tmp_path: Path) -> None:
    stand = Stand(tmp_path / "trail", Queue(*BODIES[:5], *BODIES[2:7], BODIES[0]))
    auditor = stand.drain()
    assert stand.kept() == BODIES[:7]
    assert (auditor.written, auditor.repeated) == (7, 4)


def test_what_comes_twice_in_one_batch_is_there_once(tmp_path: Path) -> None:
    queue = Queue(BODIES[0], BODIES[0], BODIES[1])
    stand = Stand(tmp_path / "trail", queue)
    stand.drain()
    assert stand.kept() == BODIES[:2]


@pytest.mark.parametrize("batch", [1, 3])
def test_another_record_under_a_number_that_was_taken_is_an_alarm(
    tmp_path: Path, batch: int
) -> None:
    other = body(1, client="somebody-else")
    stand = Stand(tmp_path / "trail", Queue(BODIES[0], other, BODIES[1]))
    stand.queue.batch = batch
    stand.drain()
    assert stand.kept() == BODIES[:2]
    assert [it.body for it in stand.lines() if it.kind == "conflicting"] == [other]
    assert stand.verified().alarms == [(3, "another record came under a number that was taken")]


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
values = st.recursive(
    scalars, lambda it: st.lists(it, max_size=3) | st.dictionaries(st.text(max_size=4), it)
)
records = st.fixed_dictionaries(
    {"data": st.fixed_dictionaries({"writer": scalars, "number": scalars, "more": values})}
)
sound = st.builds(
    lambda number, more: {"data": {"writer": "w", "number": number, "more": more}},
    st.integers(1, 3),
    values,
)
encodings = st.sampled_from(["utf-8", "utf-16-le", "utf-32-le", "utf-8-sig"])
noises = st.binary(max_size=40) | st.builds(
    lambda it, encoding, is_ascii: json.dumps(it, ensure_ascii=is_ascii).encode(
        encoding, "surrogatepass"
    ),
    sound | records | values,
    encodings,
    st.booleans(),
)


@given(st.lists(noises, min_size=1, max_size=6))
def test_whatever_comes_leaves_a_trail_that_can_be_read(bodies: list[bytes]) -> None:
    with TemporaryDirectory() as folder:
        stand = Stand(Path(folder) / "trail", Queue(BODIES[0], *bodies))
        stand.drain()
        # It starts on it again, and nothing in it looks changed.
        stand.queue.ready.append((99, BODIES[1]))
        stand.drain()
        assert stand.verified().fault is None
        assert BODIES[1] in stand.kept()


@pytest.mark.parametrize("depth", [3, 13, 14, 100, 900, 980, 990, 1000, 5000])
def test_however_deep_a_message_is_nested_its_line_can_be_read(tmp_path: Path, depth: int) -> None:
    deep = b'{"data":{"writer":"w","number":1,"x":' + b"[" * depth + b"]" * depth + b"}}"
    stand = Stand(tmp_path / "trail", Queue(deep))
    stand.drain()
    assert stand.verified().fault is None
    assert bool(stand.kept()) is (depth <= 14)


@pytest.mark.parametrize("noise", [
    b"", b"{", b"[]", b'{"data":{}}', b'{"data":{"writer":"w","number":0}}', b"\xff\xfe",
    b'{"data":{"writer":"w",\n"number":1}}', b'{"data":{"writer":"w","number":true}}',
    b'{"data":{"writer":"w\\u001b","number":1}}', b'{"data":{"writer":"\\ud800","number":1}}',
    b'{"data":{"writer":"w","number":1,"x":NaN}}',
    '{"data":{"writer":"w","number":1}}'.encode("utf-16-le"),
])  # fmt: skip
def test_a_message_that_is_no_record_is_kept_as_what_it_is(tmp_path: Path, noise: bytes) -> None:
    stand = Stand(tmp_path / "trail", Queue(BODIES[0], noise, BODIES[1]))
    stand.drain()
    assert stand.kept() == BODIES[:2]
    (kept,) = [it.fields["unreadable"] for it in stand.lines() if it.kind == "unreadable"]
    assert kept["size_bytes"] == len(noise)


def test_of_a_body_that_is_too_large_its_digest_is_kept(tmp_path: Path) -> None:
    stand = Stand(tmp_path / "trail", Queue())
    auditor, files = stand.auditor()
    files.open(0.0)
    original = Original(b"", "record.x", {}, Digest("ab" * 32, 70_000))
    auditor._keep([Delivery(original, 1, 1, 0.0)])
    (kept,) = [it.fields["unreadable"] for it in stand.lines() if it.kind == "unreadable"]
    assert (kept["sha256"], kept["size_bytes"], kept["base64"]) == ("ab" * 32, 70_000, "")


def test_a_full_disk_acknowledges_nothing_and_goes_on_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand = Stand(tmp_path / "trail", Queue(*BODIES))
    auditor, files = stand.auditor()
    auditor._turn()
    real, full = files.append, [True]

    def append(*given: Any) -> None:
        if full[0]:
            raise NoRoom("no room")
        real(*given)

    monkeypatch.setattr(files, "append", append)
    for _ in range(3):
        with pytest.raises(NoRoom):
            auditor._turn()
    assert len(stand.queue.sent) == 3
    full[0] = False
    while stand.queue.ready or stand.queue.sent:
        auditor._turn()
    files.close()
    assert stand.kept() == BODIES
    assert stand.verified().is_good


def test_what_is_held_is_void_on_the_next_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand = Stand(tmp_path / "trail", Queue(*BODIES))
    auditor, files = stand.auditor()
    with monkeypatch.context() as patched:
        patched.setattr(files, "append", _no_room(files))
        with pytest.raises(NoRoom):
            auditor._turn()
    stand.queue.lose()
    while stand.queue.ready or stand.queue.sent:
        auditor._turn()
    files.close()
    assert stand.kept() == BODIES


def _no_room(files: TrailFiles) -> Any:
    real = files.append

    def append(contents: Any, now_s: float) -> None:
        if contents[0][0] == "record":
            raise NoRoom("no room")
        real(contents, now_s)

    return append


def test_it_signs_after_so_many_lines_and_after_so_long(tmp_path: Path) -> None:
    stand = Stand(tmp_path / "trail", Queue(*BODIES[:3]))
    auditor, files = stand.auditor()
    auditor._turn()
    # The file's first line and three records.
    assert [it.line for it in stand.queue.published] == [4]
    stand.queue.ready.append((20, BODIES[3]))
    auditor._turn()
    assert len(stand.queue.published) == 1
    stand.clock.sleep(60.0)
    auditor._turn()
    assert [it.line for it in stand.queue.published] == [4, 6]
    stand.clock.sleep(600.0)
    auditor._turn()
    assert len(stand.queue.published) == 2
    files.close()


def test_each_day_has_a_file_of_its_own_that_ends_signed(tmp_path: Path) -> None:
    stand = Stand(tmp_path / "trail", Queue(*BODIES[:3]))
    auditor, files = stand.auditor()
    auditor._turn()
    stand.clock.sleep(3 * DAY_S)
    auditor._turn()
    assert len(segments_of(stand.folder)) == 1
    stand.queue.ready.append((20, BODIES[3]))
    auditor._turn()
    first, _second = segments_of(stand.folder)
    assert read_line([*lines_of(first)][-1]).kind == "checkpoint"
    files.close()
    assert stand.kept() == BODIES[:4]
    assert stand.verified().is_good


def test_a_large_file_is_the_last_of_its_size(tmp_path: Path) -> None:
    bodies = [body(number) for number in range(1, 301)]
    stand = Stand(tmp_path / "trail", Queue(*bodies), rotate_bytes=65_536)
    stand.drain()
    sizes = [path.stat().st_size for path in segments_of(stand.folder)]
    assert len(sizes) > 2
    assert max(sizes) < 65_536 + 10_000
    assert stand.kept() == bodies
    assert stand.verified().is_good


def test_it_stops_signed_and_lets_others_have_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand = Stand(tmp_path / "trail", Queue(*BODIES[:2]))
    auditor, _files = stand.auditor()
    receive = stand.queue.receive

    def last(limit: int, timeout_s: float) -> list[Delivery]:
        if not stand.queue.ready:
            auditor.stop()
        return receive(limit, timeout_s)

    monkeypatch.setattr(stand.queue, "receive", last)
    auditor.run()
    found = stand.verified()
    assert found.signed is not None
    assert found.signed.line == found.tip.number - 1
    stand.drain()


def test_a_broker_that_is_away_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand = Stand(tmp_path / "trail", Queue(*BODIES))
    auditor, _files = stand.auditor()
    tries = []

    def away() -> None:
        tries.append(1)
        if len(tries) == 3:
            auditor.stop()
        raise BrokerUnavailable("connection refused")

    monkeypatch.setattr(stand.queue, "open", away)
    auditor.run()
    assert len(tries) == 3
    assert stand.clock.monotonic() >= 10.0
