"""A network that misbehaves on demand: a TCP proxy between a worker and a server.

One thread serves all connections. What goes wrong applies to those that are open and to
those to come, until the weather changes; `cut` and `reset` end what is open, once.
"""

import random
import re
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Final

from tests.kit.servers.ports import free_port

POLL_MS: Final = 100
BUFFER_BYTES: Final = 256 * 1024
CONNECT_S: Final = 5.0
# Linger for no time at all: the kernel sends RST, as it does for a host that has restarted.
AT_ONCE: Final = struct.pack("ii", 1, 0)
# A server that has not spoken for so long has answered all that it was asked.
QUIET_S: Final = 0.2
COMMAND: Final = re.compile(rb"\*\d+\r\n\$\d+\r\n")


@dataclass(frozen=True, slots=True)
class Weather:
    """How the network behaves."""

    stalled: bool = False
    """Connections stay open, and nothing goes through."""
    refusing: bool = False
    """No new connection lives."""
    slice_bytes: int = 0
    """Bytes go through in pieces of 1 to so many; 0: as they come."""
    cut_within_bytes: int = 0
    """Each connection is reset after 1 to so many bytes in either direction; 0: it is not."""
    answer: bytes = b""
    """What is said to each command of a Redis client in the server's place; empty: it is not."""


FAIR: Final = Weather()


@dataclass(slots=True)
class _Flow:
    """One direction of a connection."""

    source: socket.socket
    target: socket.socket
    waiting: bytearray = field(default_factory=bytearray)
    left_bytes: int | None = None
    ended: bool = False
    came_at: float = 0.0
    """When something last came from its source."""
    sent_at: float = 0.0
    """When something last went to its target."""
    is_ours: bool = False
    """What its target is told, it is told by us."""


class Proxy:
    """Listens on a port of its own and passes on to another one, both on 127.0.0.1."""

    def __init__(self, to_port: int, draw: random.Random | None = None) -> None:
        self.port = free_port()
        self.attempts = 0
        """How often somebody has connected, or tried to."""
        self.largest_piece_bytes = 0
        """Of what was passed on since the weather changed."""
        self._to_port = to_port
        self._draw = draw or random.Random()
        self._weather = FAIR
        self._pairs: list[tuple[_Flow, _Flow]] = []
        self._tasks: deque[tuple[Callable[[], None], Event]] = deque()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._bell, self._ringer = socket.socketpair()
        self._closing = False
        self._thread = Thread(target=self._serve, name=f"proxy to {to_port}", daemon=True)
        self._thread.start()

    def change(self, weather: Weather) -> None:
        """Let the network behave like this from now on."""

        def change() -> None:
            self._weather = weather
            self.largest_piece_bytes = 0
            for pair in list(self._pairs):
                self._set_limits(pair)
                # What the server may still have to say is no answer to what comes next.
                if pair[1].is_ours:
                    self._end(pair, at_once=True)

        self._do(change)

    def redirect(self, to_port: int, *, keeping: bool = False) -> None:
        """Lead to another server from now on, as a name does after a failover.

        Args:
            to_port: where that listens.
            keeping: connections that are open stay with whom they were made to, as with a
                planned one, where nobody has died.
        """

        def redirect() -> None:
            self._to_port = to_port
            if not keeping:
                self._end_all(at_once=True)

        self._do(redirect)

    def cut(self) -> None:
        """End every connection in good order."""
        self._do(self._end_all)

    def reset(self) -> None:
        """End every connection with RST; what was on its way is lost."""
        self._do(lambda: self._end_all(at_once=True))

    def close(self) -> None:
        """End everything."""

        def close() -> None:
            self._end_all()
            self._closing = True

        self._do(close)
        self._thread.join()
        for it in (self._listener, self._bell, self._ringer):
            it.close()

    def _do(self, task: Callable[[], None]) -> None:
        """Run a task between two rounds of the serving thread, and wait for it."""
        done = Event()
        self._tasks.append((task, done))
        self._ringer.send(b"!")
        done.wait()

    def _serve(self) -> None:
        while not self._closing:
            ready = self._ready()
            if self._bell.fileno() in ready:
                self._bell.recv(4096)
                while self._tasks:
                    task, done = self._tasks.popleft()
                    task()
                    done.set()
                continue
            if self._listener.fileno() in ready:
                self._accept()
            for pair in list(self._pairs):
                self._pass_on(pair, ready)

    def _ready(self) -> set[int]:
        """Return the numbers of the sockets that something can be done with."""
        wanted = {self._listener.fileno(): select.POLLIN, self._bell.fileno(): select.POLLIN}
        for flow in self._flows():
            if not flow.ended and len(flow.waiting) < BUFFER_BYTES:
                number = flow.source.fileno()
                wanted[number] = wanted.get(number, 0) | select.POLLIN
            if flow.waiting:
                number = flow.target.fileno()
                wanted[number] = wanted.get(number, 0) | select.POLLOUT
        poll = select.poll()
        for number, events in wanted.items():
            poll.register(number, events)
        return {number for number, _ in poll.poll(POLL_MS)}

    def _flows(self) -> Iterable[_Flow]:
        if self._weather.stalled:
            return ()
        return (flow for pair in self._pairs for flow in pair)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        self.attempts += 1
        if self._weather.refusing:
            _close(client, at_once=True)
            return
        try:
            server = socket.create_connection(("127.0.0.1", self._to_port), CONNECT_S)
        except OSError:
            _close(client, at_once=True)
            return
        for it in (client, server):
            it.setblocking(False)  # the standard library's call
            it.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pair = _Flow(client, server), _Flow(server, client)
        self._set_limits(pair)
        self._pairs.append(pair)

    def _set_limits(self, pair: tuple[_Flow, _Flow]) -> None:
        most = self._weather.cut_within_bytes
        for flow in pair:
            flow.left_bytes = self._draw.randint(1, most) if most else None

    def _pass_on(self, pair: tuple[_Flow, _Flow], ready: set[int]) -> None:
        try:
            if self._weather.answer:
                self._answer(*pair, ready)
            else:
                for flow in pair:
                    self._read(flow, ready)
                    self._write(flow, ready)
        except ConnectionError:
            self._end(pair, at_once=True)
            return
        if any(flow.ended and not flow.waiting for flow in pair):
            self._end(pair)

    def _answer(self, asked: _Flow, told: _Flow, ready: set[int]) -> None:
        """Speak in the server's place, once it has said what it was asked for before."""
        before = told.came_at
        self._read(told, ready)
        if told.is_ours and told.came_at != before:
            raise ConnectionResetError
        self._read(asked, ready)
        quiet_s = time.monotonic() - max(asked.sent_at, told.came_at)
        if asked.waiting and (told.is_ours or quiet_s > QUIET_S):
            told.is_ours = True
            told.waiting += self._weather.answer * len(COMMAND.findall(asked.waiting))
            asked.waiting.clear()
        self._write(told, ready)

    def _read(self, flow: _Flow, ready: set[int]) -> None:
        if flow.ended or flow.source.fileno() not in ready or len(flow.waiting) >= BUFFER_BYTES:
            return
        with suppress(BlockingIOError):
            came = flow.source.recv(65_536)
            flow.ended = not came
            flow.waiting += came
            if came:
                flow.came_at = time.monotonic()

    def _write(self, flow: _Flow, ready: set[int]) -> None:
        if not flow.waiting or flow.target.fileno() not in ready:
            return
        size = len(flow.waiting)
        if self._weather.slice_bytes:
            size = min(size, self._draw.randint(1, self._weather.slice_bytes))
        if flow.left_bytes is not None:
            size = min(size, flow.left_bytes)
        with suppress(BlockingIOError):
            sent = flow.target.send(flow.waiting[:size])
            flow.sent_at = time.monotonic()
            self.largest_piece_bytes = max(self.largest_piece_bytes, sent)
            del flow.waiting[:sent]
            if flow.left_bytes is not None:
                flow.left_bytes -= sent
                if flow.left_bytes == 0:
                    raise ConnectionResetError

    def _end_all(self, *, at_once: bool = False) -> None:
        for pair in list(self._pairs):
            self._end(pair, at_once=at_once)

    def _end(self, pair: tuple[_Flow, _Flow], *, at_once: bool = False) -> None:
        self._pairs.remove(pair)
        for flow in pair:
            _close(flow.source, at_once=at_once)


def _close(it: socket.socket, *, at_once: bool) -> None:
    if at_once:
        it.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
    it.close()
