"""What only a server can refuse about a URL is told to a person, too, and no wait for it."""

import os
import secrets
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from kmworker.crypto import Keyring
from kmworker.errors import SetupError
from kmworker.store.client import Gate, connect_to
from tests.kit.servers import StoreServer

NOTORIOUS = "a;b@c/d?e#f%41 ü:&="


@pytest.mark.parametrize("database", [99, 999_999_999])
@pytest.mark.parametrize("gate", [None, Gate()], ids=["command", "worker"])
def test_a_database_that_the_server_has_not_is_no_outage(
    redis_server: StoreServer, database: int, gate: Gate | None
) -> None:
    url = redis_server.url_of("worker").removesuffix("/0") + f"/{database}"
    with connect_to(url, 5.0, None if gate is None else gate.on_connect) as client:
        if gate is None:
            with pytest.raises(SetupError, match=f"the server has no database {database}: "):
                client.ping()
        else:
            with gate.opened(), pytest.raises(SetupError, match=f"has no database {database}: "):
                client.ping()


def test_a_worker_ends_with_2_where_the_server_has_no_such_database(
    redis_server: StoreServer, tmp_path: Path
) -> None:
    url = redis_server.url_of("worker").removesuffix("/0") + "/99"
    Keyring.generate(tmp_path / "keyring.json")
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("KMWORKER_")},
        "KMWORKER_STORE__URL": url,
        "KMWORKER_BROKER__URL": url,
        "KMWORKER_KEYRING__PATH": str(tmp_path / "keyring.json"),
    }
    command = [sys.executable, "-m", "kmworker", "worker"]
    done = subprocess.run(
        command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "the server has no database 99" in done.stderr


def test_a_command_ends_with_2_where_the_server_has_no_such_database(
    redis_server: StoreServer, tmp_path: Path
) -> None:
    url = redis_server.url_of("dashboard").removesuffix("/0") + "/99"
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("KMWORKER_")},
        "KMWORKER_STORE__URL": url,
    }
    command = [sys.executable, "-m", "kmworker", "status"]
    done = subprocess.run(
        command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "the server has no database 99" in done.stderr


def test_any_password_opens_a_store_when_it_is_percent_encoded(redis_server: StoreServer) -> None:
    user = f"any-{secrets.token_hex(4)}"
    with redis_server.admin() as admin:
        admin.execute_command("ACL", "SETUSER", user, "on", f">{NOTORIOUS}", "+ping")
        try:
            login = f"{user}:{quote(NOTORIOUS, safe='')}"
            with connect_to(f"redis://{login}@127.0.0.1:{redis_server.port}", 5.0) as client:
                assert client.ping()
        finally:
            admin.execute_command("ACL", "DELUSER", user)
