"""The proxy must do what the faults say of it, or they prove nothing."""

import random
import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from threading import Thread

import pytest

from tests.kit.servers import FAIR, Proxy, Weather

WAIT_S = 30.0


class Echo:
    """Sends back what it gets, until its peer is gone."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            Thread(target=self._echo, args=[connection], daemon=True).start()

    def _echo(self, connection: socket.socket) -> None:
        # The proxy may have reset it.
        with connection, suppress(ConnectionError):
            while came := connection.recv(65_536):
                connection.sendall(came)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with closing(Echo()) as echo, closing(Proxy(echo.port, random.Random(1))) as it:
        yield it


def connected(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), WAIT_S)


def said(connection: socket.socket, text: bytes) -> list[bytes]:
    """Send the text, and return the pieces in which it comes back."""
    connection.sendall(text)
    pieces: list[bytes] = []
    while sum(map(len, pieces)) < len(text):
        pieces.append(connection.recv(65_536))
        assert pieces[-1], "cut"
    return pieces


def received(connection: socket.socket) -> bytes:
    """Return all that comes before the connection is reset."""
    came = bytearray()
    try:
        while piece := connection.recv(10):
            came += piece
    except ConnectionResetError:
        return bytes(came)
    raise AssertionError("ended in good order")


def test_in_fair_weather_all_bytes_pass_in_order(proxy: Proxy) -> None:
    text = random.Random(2).randbytes(2_000_000)
    with connected(proxy) as one, connected(proxy) as other:
        sender = Thread(target=one.sendall, args=[text])
        sender.start()
        came = bytearray()
        while len(came) < len(text):
            came += one.recv(65_536)
        sender.join()
        assert bytes(came) == text
        assert b"".join(said(other, b"meanwhile")) == b"meanwhile"


def test_a_cut_ends_every_connection_in_good_order_and_new_ones_live(proxy: Proxy) -> None:
    with connected(proxy) as one:
        said(one, b"x")
        proxy.cut()
        assert one.recv(1) == b""
    with connected(proxy) as again:
        assert b"".join(said(again, b"y")) == b"y"


def test_a_reset_is_seen_as_one(proxy: Proxy) -> None:
    with connected(proxy) as one:
        said(one, b"x")
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            one.recv(1)


def test_while_it_refuses_no_connection_lives(proxy: Proxy) -> None:
    proxy.change(Weather(refusing=True))
    with pytest.raises(ConnectionResetError), connected(proxy) as one:
        one.recv(1)


def test_what_stalls_comes_through_when_the_weather_is_fair_again(proxy: Proxy) -> None:
    with connected(proxy) as one:
        said(one, b"x")
        proxy.change(Weather(stalled=True))
        one.sendall(b"late")
        # A whole round trip of another connection is not possible either.
        with connected(proxy) as other:
            other.sendall(b"too")
            for it in (one, other):
                it.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    it.recv(1)
                it.settimeout(WAIT_S)
            proxy.change(FAIR)
            assert one.recv(4, socket.MSG_WAITALL) == b"late"
            assert other.recv(3, socket.MSG_WAITALL) == b"too"


def test_slices_are_no_larger_than_asked_for(proxy: Proxy) -> None:
    proxy.change(Weather(slice_bytes=3))
    with connected(proxy) as one:
        text = b"0123456789" * 20
        assert b"".join(said(one, text)) == text
    assert 0 < proxy.largest_piece_bytes <= 3


def test_a_connection_is_reset_within_the_bytes_given_and_not_before_one_has_passed(
    proxy: Proxy,
) -> None:
    proxy.change(Weather(cut_within_bytes=10))
    for _ in range(20):
        with connected(proxy) as one:
            one.sendall(b"0123456789")
            assert len(received(one)) <= 10


def test_an_answer_in_the_servers_place_comes_once_for_each_command_and_to_nobody_later(
    proxy: Proxy,
) -> None:
    command = b"*1\r\n$4\r\nPING\r\n"
    with connected(proxy) as one:
        assert b"".join(said(one, command)) == command
        proxy.change(Weather(answer=b"-away\r\n"))
        one.sendall(command * 3)
        assert one.recv(21, socket.MSG_WAITALL) == b"-away\r\n" * 3
        with connected(proxy) as other:
            other.sendall(command)
            assert other.recv(7, socket.MSG_WAITALL) == b"-away\r\n"
        # The server may have more to say to what came before.
        proxy.change(FAIR)
        with pytest.raises(ConnectionResetError):
            one.recv(1)


def test_a_server_that_is_away_is_away_behind_the_proxy_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    with (
        closing(Proxy(port)) as proxy,
        pytest.raises(ConnectionResetError),
        connected(proxy) as one,
    ):
        one.recv(1)
