"""Barbican's API as a client has it that reads a secret's payload.

Its own package in an environment of its own (`make barbican`), with its own encryption
(simple_crypto) and SQLite, without Keystone: who asks is believed to be who he says he is, so what
its tokens take is not in the figures.
"""

import json
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from os import urandom
from pathlib import Path
from typing import Final

from tests.kit.servers.ports import free_port
from tests.kit.servers.server import Server, ServerError

__all__ = ["PROGRAMS", "Barbican", "Reading", "barbican"]

PROGRAMS: Final = Path(__file__).parents[2] / ".venv-barbican" / "bin"
PROCESSES: Final = 2
"""One for each core, as its documentation has it; each with four threads."""
TIMEOUT_S: Final = 60.0
HEADERS: Final = {
    "X-Identity-Status": "Confirmed", "X-Project-Id": "p1", "X-User-Id": "u1",
    "X-Roles": "member,reader,creator", "Accept": "application/json",
}  # fmt: skip
SETTINGS: Final = """\
[DEFAULT]
host_href = http://127.0.0.1:{port}
db_auto_create = True
log_file = {folder}/barbican.log
sql_connection = sqlite:///{folder}/barbican.sqlite
[database]
connection = sqlite:///{folder}/barbican.sqlite
[secretstore]
enabled_secretstore_plugins = store_crypto
[crypto]
enabled_crypto_plugins = simple_crypto
[simple_crypto_plugin]
kek = {kek}
[oslo_policy]
enforce_scope = False
"""
APPLICATION: Final = """\
from paste import deploy

application = deploy.loadapp("config:{folder}/paste.ini")
"""
# Its own pipeline without tokens (unauthenticated-context) fails on every request in 23.0.0.
WITH_TOKENS: Final = "request_id http_proxy_to_wsgi authtoken context"
WITHOUT: Final = "request_id http_proxy_to_wsgi context"


class Barbican(Server):
    """A private server under gunicorn."""

    def __init__(self, folder: Path) -> None:
        """Prepare it; `start` starts it."""
        if not (PROGRAMS / "gunicorn").exists():
            raise ServerError("Barbican is not installed: make barbican")
        super().__init__(folder, port=free_port())

    def command(self) -> list[str]:
        """Run it with files of its own."""
        settings = self.folder / ".barbican"
        settings.mkdir(exist_ok=True)
        kek = b64encode(urandom(32)).decode()
        text = SETTINGS.format(port=self.port, folder=self.folder, kek=kek)
        (settings / "barbican.conf").write_text(text)
        shipped = PROGRAMS.parent / "etc" / "barbican" / "barbican-api-paste.ini"
        pipelines = shipped.read_text().replace(WITH_TOKENS, WITHOUT)
        (self.folder / "paste.ini").write_text(pipelines)
        (self.folder / "served.py").write_text(APPLICATION.format(folder=self.folder))
        return [
            str(PROGRAMS / "gunicorn"), "--bind", f"127.0.0.1:{self.port}", "--preload",
            "--workers", str(PROCESSES), "--threads", "4", "--keep-alive", "60",
            "--chdir", str(self.folder), "served:application",
        ]  # fmt: skip

    def environment(self) -> Mapping[str, str]:
        """Have it find its settings below its home."""
        return {**super().environment(), "PYTHONWARNINGS": "ignore"}

    def answers(self) -> bool:
        """Whether it says which versions it speaks."""
        try:
            return call(self.port, "GET", "/")[0] == HTTPStatus.MULTIPLE_CHOICES
        except (OSError, HTTPException):
            return False

    def url_of(self, role: str, names: str, *, port: int = 0) -> str:
        """Return where it is: it believes whoever asks."""
        del role, names
        return f"http://127.0.0.1:{port or self.port}"

    def forget(self, names: str) -> None:
        """Nothing is kept by name here."""

    def store(self, key: bytes) -> str:
        """Have it keep a key; return where it is read."""
        document = {
            "name": "k", "algorithm": "aes", "bit_length": 8 * len(key), "mode": "xts",
            "secret_type": "symmetric", "payload": b64encode(key).decode(),
            "payload_content_type": "application/octet-stream",
            "payload_content_encoding": "base64",
        }  # fmt: skip
        status, answer = call(self.port, "POST", "/v1/secrets", json.dumps(document))
        if status != HTTPStatus.CREATED:
            raise ServerError(f"Barbican: {status} {answer!r}")
        reference: str = json.loads(answer)["secret_ref"]
        return f"/v1/secrets/{reference.rpartition('/')[2]}/payload"


def call(port: int, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
    """Ask once."""
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request(method, path, body, {**HEADERS, "Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@dataclass(frozen=True, slots=True)
class Reading:
    """A client, and a secret that it may read."""

    port: int
    path: str
    size_bytes: int

    def connect(self) -> Callable[[int], None]:
        """Return what reads it, on a connection of its own."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        headers = {**HEADERS, "Accept": "application/octet-stream"}

        def read(_number: int) -> None:
            connection.request("GET", self.path, headers=headers)
            assert len(connection.getresponse().read()) == self.size_bytes

        return read


@contextmanager
def barbican(folder: Path) -> Iterator[tuple[Reading, int]]:
    """Run a server; give a client of it, and its process id."""
    folder.mkdir()
    server = Barbican(folder)
    try:
        server.start()
        key = urandom(64)
        yield Reading(server.port, server.store(key), len(key)), server.pid
    finally:
        server.close()
