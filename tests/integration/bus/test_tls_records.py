"""TLS records as they come from the wire, which has its own ideas of where to cut them."""

import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from ssl import CERT_NONE, PROTOCOL_TLS_SERVER, MemoryBIO, SSLContext, SSLError, SSLWantReadError
from threading import Thread
from typing import Any

import pytest

from kmworker.bus.amqp import transport as transport_module
from kmworker.bus.amqp.link import Link
from kmworker.bus.amqp.tls import kombu_options
from kmworker.bus.amqp.transport import BufferedConnection
from kmworker.errors import BrokerUnavailable
from kmworker.settings import BrokerSettings
from tests.kit.servers.certificates import Authority, Certificate

Frame = tuple[int, int, bytes]
PATIENCE_S = 60.0
RECORD_BYTES = 16_384


class Peer:
    """The broker's end: what it encrypts goes out only as the test sends it."""

    def __init__(self, certificate: Certificate) -> None:
        context = SSLContext(PROTOCOL_TLS_SERVER)
        context.verify_mode = CERT_NONE
        context.load_cert_chain(certificate.path, certificate.key_path)
        self._incoming, self._outgoing = MemoryBIO(), MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.sock: Any = None

    def greet(self) -> None:
        """Accept, shake hands, and take the protocol header."""
        self.sock, _ = self._listener.accept()
        self._listener.close()
        header = b""
        while len(header) < 8:
            with suppress(SSLWantReadError):
                header += self._tls.read(8)
                continue
            self.sock.sendall(self._outgoing.read())
            self._incoming.write(self.sock.recv(65_536))
        self.sock.sendall(self._outgoing.read())

    def sealed(self, *plain: bytes) -> bytes:
        """Encrypt, each into records of its own."""
        for data in plain:
            self._tls.write(data)
        return self._outgoing.read()


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    it = Peer(Authority(tmp_path).issue("server", "localhost"))
    yield it
    it.sock.close()


@pytest.fixture
def connection(peer: Peer, tmp_path: Path) -> Iterator[Any]:
    """Our end, past the handshake; what it handles is on its list ``handled``."""
    made: Any = BufferedConnection("localhost")
    ssl = kombu_options(f"amqps://localhost?ssl_ca_certs={tmp_path / 'ca.pem'}")["ssl"]
    made.transport = made.Transport(f"localhost:{peer.port}", PATIENCE_S, ssl)
    greeting = Thread(target=peer.greet, daemon=True)
    greeting.start()
    made.transport.connect()
    greeting.join(PATIENCE_S)
    made.handled = []
    made.on_inbound_frame = made.handled.append
    yield made
    peer.sock.close()
    made.transport.close()


def wire(frames: Iterable[Frame]) -> bytes:
    return b"".join(
        kind.to_bytes() + channel.to_bytes(2) + len(payload).to_bytes(4) + payload + b"\xce"
        for kind, channel, payload in frames
    )


def drain(connection: Any) -> list[Frame]:
    """Handle what has arrived, as a bus does."""
    with suppress(TimeoutError):
        connection.drain_arrived(PATIENCE_S)
        while True:
            connection.drain_arrived(0)
    found, connection.handled[:] = list(connection.handled), []
    return found


@pytest.mark.parametrize("gulp_bytes", [transport_module.GULP_BYTES, 1000])
def test_nothing_that_was_decrypted_is_left_behind(
    peer: Peer, connection: Any, monkeypatch: pytest.MonkeyPatch, gulp_bytes: int
) -> None:
    monkeypatch.setattr(transport_module, "GULP_BYTES", gulp_bytes)
    # One full record, with the end of its last frame in it: the socket has nothing more.
    frames = [(3, 1, b"x" * 1000)] * 15
    frames.append((3, 1, b"y" * (RECORD_BYTES - len(wire(frames)) - 8)))
    assert len(wire(frames)) == RECORD_BYTES
    peer.sock.sendall(peer.sealed(wire(frames)))
    assert drain(connection) == frames
    assert connection.transport.sock.pending() == 0


def test_several_records_that_arrive_at_once_are_all_handled(peer: Peer, connection: Any) -> None:
    frames = [(3, 1, bytes([number]) * 3000) for number in range(50)]
    data = wire(frames)
    # Ends of records and ends of frames are not the same.
    cuts = [data[at : at + 7001] for at in range(0, len(data), 7001)]
    sending = Thread(target=peer.sock.sendall, args=[peer.sealed(*cuts)], daemon=True)
    sending.start()
    found: list[Frame] = []
    while len(found) < len(frames):
        came = drain(connection)
        assert came
        found += came
    sending.join(PATIENCE_S)
    assert found == frames


def test_a_frame_of_many_records_is_one_frame(peer: Peer, connection: Any) -> None:
    frame = (3, 1, b"z" * 131_064)
    sending = Thread(target=peer.sock.sendall, args=[peer.sealed(wire([frame]))], daemon=True)
    sending.start()
    connection.drain_arrived(PATIENCE_S)
    sending.join(PATIENCE_S)
    assert connection.handled == [frame]


@pytest.mark.parametrize("at", [1, 5, 6, 100, -1])
def test_a_record_that_comes_in_two_parts_is_waited_for(
    peer: Peer, connection: Any, at: int
) -> None:
    frame = (3, 1, b"w" * 200)
    sealed = peer.sealed(wire([frame]))
    peer.sock.sendall(sealed[:at])
    for timeout_s in (0.01, 0):
        with pytest.raises(TimeoutError):
            connection.drain_arrived(timeout_s)
    assert connection.transport.connected
    peer.sock.sendall(sealed[at:])
    assert drain(connection) == [frame]


@pytest.mark.parametrize("at", [0, 1, 5, 100, -1])
def test_an_end_in_the_middle_of_a_record_is_a_lost_connection(
    peer: Peer, connection: Any, at: int
) -> None:
    frame = (3, 1, b"w" * 200)
    peer.sock.sendall(peer.sealed(wire([frame])) + peer.sealed(wire([frame]))[:at])
    peer.sock.close()
    connection.drain_arrived(PATIENCE_S)
    assert connection.handled == [frame]
    with pytest.raises(ConnectionResetError):
        connection.drain_arrived(PATIENCE_S)
    assert not connection.transport.connected


def test_a_record_that_was_tampered_with_is_a_lost_connection(peer: Peer, connection: Any) -> None:
    sealed = bytearray(peer.sealed(wire([(3, 1, b"w" * 200)])))
    sealed[-1] ^= 1
    peer.sock.sendall(sealed)
    with pytest.raises(OSError, match="BAD_RECORD_MAC"):
        connection.drain_arrived(PATIENCE_S)
    assert not connection.transport.connected
    assert connection.handled == []


def test_leaving_does_not_wait_for_a_peer_that_says_nothing(connection: Any) -> None:
    # Without a timeout, whatever waits here waits for ever.
    connection.transport.sock.settimeout(None)
    leaving = Thread(target=connection.transport.close, daemon=True)
    leaving.start()
    leaving.join(PATIENCE_S)
    assert not leaving.is_alive()
    assert connection.transport.sock is None


def test_a_certificate_that_has_expired_is_refused_and_says_so(tmp_path: Path) -> None:
    peer = Peer(Authority(tmp_path).issue("server", "localhost", expired=True))

    def greet() -> None:
        # We hang up on it.
        with suppress(SSLError):
            peer.greet()

    greeting = Thread(target=greet, daemon=True)
    greeting.start()
    url = f"amqps://localhost:{peer.port}/?ssl_ca_certs={tmp_path / 'ca.pem'}"
    with pytest.raises(BrokerUnavailable, match="not trusted: certificate has expired"):
        Link(BrokerSettings(url=url), "tls").open()
    greeting.join(PATIENCE_S)
    peer.sock.close()
