"""OpenBao's transit engine, as a client has it that holds keys wrapped and has them opened."""

import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPSConnection
from pathlib import Path
from typing import Final

from tests.kit.servers.openbao import OpenBao

__all__ = ["Decrypting", "openbao"]

TIMEOUT_S: Final = 60.0
PLAIN: Final = "QUFB" * 21 + "QQ=="
"""A key of 64 bytes."""


@dataclass(frozen=True, slots=True)
class Decrypting:
    """A client that has logged in, and a key that is wrapped."""

    port: int
    ca: Path
    token: str = field(repr=False)
    sealed: str

    def connect(self) -> Callable[[int], None]:
        """Return what has it decrypted, on a connection of its own."""
        tls = ssl.create_default_context(cafile=str(self.ca))
        connection = HTTPSConnection("127.0.0.1", self.port, context=tls, timeout=TIMEOUT_S)
        body, headers = json.dumps({"ciphertext": self.sealed}), {"X-Vault-Token": self.token}

        def decrypt(_number: int) -> None:
            connection.request("POST", "/v1/transit/decrypt/kek", body, headers)
            found = json.loads(connection.getresponse().read())
            assert found["data"]["plaintext"] == PLAIN

        return decrypt


@contextmanager
def openbao(folder: Path) -> Iterator[tuple[Decrypting, int]]:
    """Run a server; give a client of it, and its process id."""
    folder.mkdir()
    server = OpenBao(folder)
    try:
        server.start()
        sealed = server.ask("POST", "transit/encrypt/kek", {"plaintext": PLAIN})
        login = {"role_id": server.role_id, "secret_id": server.secret_id_path.read_text().strip()}
        token = server.ask("POST", "auth/approle/login", login)["auth"]["client_token"]
        client = Decrypting(server.port, server.ca, token, sealed["data"]["ciphertext"])
        yield client, server.pid
    finally:
        server.close()
