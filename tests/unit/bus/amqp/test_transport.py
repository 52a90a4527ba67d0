"""The buffered transport: the same frames as py-amqp's, however the bytes arrive."""

import socket
from collections.abc import Iterable, Iterator
from itertools import pairwise
from struct import pack
from threading import Timer
from time import monotonic
from typing import Any

import pytest
from amqp.exceptions import UnexpectedFrame
from hypothesis import given
from hypothesis import strategies as st

from kmworker.bus.amqp.transport import (
    CORKED_MOST_BYTES,
    BufferedConnection,
    transport_for,
    wait_for_any,
)

Frame = tuple[int, int, bytes]
frames = st.lists(st.tuples(st.integers(1, 8), st.integers(0, 65535), st.binary(max_size=300)))


def wire(all_of_them: Iterable[Frame]) -> bytes:
    """Return frames as they travel (AMQP 0-9-1, section 2.3.5)."""
    return b"".join(
        pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"
        for kind, channel, payload in all_of_them
    )


def transport(chunks: Iterable[bytes | Exception] = (), *, tls: bool = False) -> Any:
    """Return a transport that is connected to these chunks, each what one read gives."""
    made = BufferedConnection("host").Transport("host:1", 1.0, tls)
    made.connected = True
    left = iter(chunks)

    def recv(_most: int) -> bytes:
        chunk = next(left)
        if isinstance(chunk, Exception):
            raise chunk
        return chunk

    made._quick_recv = recv
    made.sent = []
    made._write = lambda data: made.sent.append(bytes(data))
    return made


def cut(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """Cut bytes into pieces, none of them empty."""
    at = sorted({0, len(data), *(place % (len(data) + 1) for place in cuts)})
    return [data[start:end] for start, end in pairwise(at)]


@given(sent=frames, cuts=st.lists(st.integers(0, 10_000)))
def test_frames_arrive_whole_however_the_bytes_were_cut(sent: list[Frame], cuts: list[int]) -> None:
    reader = transport(cut(wire(sent), cuts))
    assert [reader.read_frame() for _ in sent] == sent
    assert reader.next_frame() is None


def test_what_one_read_has_brought_is_not_asked_for_again() -> None:
    sent = [(3, 1, b"body")] * 1000
    reader = transport([wire(sent)])
    assert reader.next_frame() is None
    assert reader.read_frame() == sent[0]
    assert [reader.next_frame() for _ in sent[1:]] == sent[1:]


@pytest.mark.parametrize("at", range(1, len(wire([(1, 2, b"abc")]))))
def test_a_frame_that_is_cut_by_a_timeout_is_complete_when_its_rest_has_come(at: int) -> None:
    data = wire([(1, 2, b"abc")])
    reader = transport([data[:at], TimeoutError(), data[at:]])
    with pytest.raises(TimeoutError):
        reader.read_frame()
    assert reader.connected
    assert reader.read_frame() == (1, 2, b"abc")


@pytest.mark.parametrize("end", [b"", ConnectionResetError(), BrokenPipeError()])
def test_a_connection_that_ends_is_known_to_be_gone(end: bytes | Exception) -> None:
    reader = transport([wire([(1, 1, b"x")]), end])
    assert reader.read_frame() == (1, 1, b"x")
    with pytest.raises(ConnectionError):
        reader.read_frame()
    assert not reader.connected


def test_what_is_no_frame_is_refused() -> None:
    reader = transport([pack(">BHI", 1, 1, 2) + b"ab" + b"\x00"])
    with pytest.raises(UnexpectedFrame, match="0x00"):
        reader.read_frame()


@pytest.mark.parametrize("tls", [False, True])
def test_what_is_corked_leaves_in_one_write(tls: bool) -> None:
    writer = transport(tls=tls)
    writer.write(b"alone")
    with writer.corked():
        for part in (b"a", memoryview(b"bc"), b"d"):
            writer.write(part)
        assert writer.sent == [b"alone"]
    writer.write(b"after")
    assert writer.sent == [b"alone", b"abcd", b"after"]


def test_corking_copies_what_py_amqp_is_going_to_overwrite() -> None:
    writer = transport()
    shared = bytearray(b"first")
    with writer.corked():
        writer.write(memoryview(shared))
        shared[:] = b"other"
        writer.write(memoryview(shared))
    assert writer.sent == [b"firstother"]


def test_nothing_that_was_corked_leaves_after_an_error() -> None:
    writer = transport()

    def half() -> None:
        with writer.corked():
            writer.write(b"half a batch")
            raise KeyError

    with pytest.raises(KeyError):
        half()
    writer.write(b"later")
    assert writer.sent == [b"later"]


def test_memory_does_not_follow_what_is_corked() -> None:
    writer = transport()
    part = b"x" * (CORKED_MOST_BYTES // 4)
    with writer.corked():
        for _ in range(6):
            writer.write(part)
        assert len(writer.sent) == 1
    assert b"".join(writer.sent) == part * 6


def test_an_error_while_writing_is_py_amqps() -> None:
    writer = transport()

    def fail(_data: bytes) -> None:
        raise ConnectionResetError

    writer._write = fail
    with pytest.raises(ConnectionResetError):
        writer.write(b"x")
    assert not writer.connected


def connection(chunks: Iterable[bytes | Exception]) -> tuple[BufferedConnection, list[Frame]]:
    """Return a connection in the middle of its life, and the frames that it handles."""
    made: Any = BufferedConnection("host")
    handled: list[Frame] = []
    made.transport = transport(chunks)
    made.transport.sock = Socket()

    def handle(frame: Frame) -> bool:
        handled.append(frame)
        return frame[0] == 1

    made.on_inbound_frame = handle
    return made, handled


class Socket:
    """A socket whose timeout is all that is asked for."""

    timeout: float | None = None

    def gettimeout(self) -> float | None:
        return self.timeout

    def settimeout(self, timeout: float | None) -> None:
        self.timeout = timeout


def test_all_that_has_arrived_is_handled_at_once() -> None:
    sent = [(8, 0, b""), (1, 1, b"a"), (2, 1, b"b"), (1, 1, b"c")]
    drained, handled = connection([wire(sent) + b"\x01", TimeoutError()])
    drained.drain_arrived(0.0)
    assert handled == sent
    with pytest.raises(TimeoutError):
        drained.drain_arrived(0.0)


def test_py_amqps_own_draining_takes_from_the_buffer_too() -> None:
    sent = [(8, 0, b""), (1, 1, b"a"), (1, 1, b"c")]
    drained, handled = connection([wire(sent)])
    drained.drain_events(timeout=1.0)
    drained.drain_events(timeout=1.0)
    assert handled == sent


@pytest.mark.parametrize(("url", "has_tls"), [("amqp://h", False), ("amqps://h", True)])
def test_a_url_says_whether_there_is_tls(url: str, has_tls: bool) -> None:
    from kombu.transport import pyamqp  # noqa: PLC0415  # for this alone

    assert issubclass(transport_for(url), pyamqp.SSLTransport) is has_tls


# --- waiting for several connections ----------------------------------------------


class Linked:
    """A connection whose other end is ours."""

    def __init__(self) -> None:
        ours, self.peer = socket.socketpair()
        self.transport = transport()
        self.transport.sock = ours
        self.transport._quick_recv = ours.recv
        ours.settimeout(0)

    def close(self) -> None:
        self.peer.close()
        self.transport.sock.close()


@pytest.fixture
def two() -> Iterator[tuple[Any, Any]]:
    linked = Linked(), Linked()
    yield linked
    for it in linked:
        it.close()


def waited_s(two: tuple[Any, Any], most_s: float) -> float:
    began = monotonic()
    wait_for_any(two, most_s)
    return monotonic() - began


@pytest.mark.parametrize("which", [0, 1])
def test_what_comes_on_either_connection_ends_the_waiting(two: tuple[Any, Any], which: int) -> None:
    Timer(0.05, two[which].peer.send, [wire([(1, 1, b"x")])]).start()
    assert waited_s(two, 30.0) < 15
    assert two[which].transport.read_frame() == (1, 1, b"x")


def test_nothing_ends_the_waiting_but_time(two: tuple[Any, Any]) -> None:
    assert waited_s(two, 0.05) >= 0.05


def test_what_was_read_before_and_is_a_frame_is_not_waited_for(two: tuple[Any, Any]) -> None:
    one, _other = two
    one.peer.send(wire([(1, 1, b"x"), (1, 1, b"y")]))
    one.transport.read_frame()
    assert waited_s(two, 30.0) < 15
    assert one.transport.next_frame() == (1, 1, b"y")


@pytest.mark.parametrize("at", range(1, len(wire([(1, 2, b"abc")]))))
def test_half_a_frame_is_waited_for(two: tuple[Any, Any], at: int) -> None:
    one, _other = two
    one.peer.send(wire([(1, 2, b"abc")])[:at])
    with pytest.raises(BlockingIOError):
        one.transport.read_frame()
    assert waited_s(two, 0.01) >= 0.01


def test_a_connection_that_ends_ends_the_waiting(two: tuple[Any, Any]) -> None:
    two[1].peer.close()
    assert waited_s(two, 30.0) < 15
