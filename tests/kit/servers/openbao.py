"""OpenBao with TLS and a key of its transit engine, set up as docs/roots.md says."""

import http.client
import json
import ssl
from http import HTTPStatus
from pathlib import Path
from typing import Any

from tests.kit.polling import until
from tests.kit.servers import locate
from tests.kit.servers.certificates import Authority
from tests.kit.servers.ports import free_port
from tests.kit.servers.server import Server

# Its first start makes a cluster of one, and syncs each step to disk.
PROBE_TIMEOUT_S = 60.0
POLICY = """
path "transit/encrypt/kek" { capabilities = ["update"] }
path "transit/decrypt/kek" { capabilities = ["update"] }
"""


class OpenBaoError(Exception):
    """It refused what a test's administrator asked for."""


class OpenBao(Server):
    """A private server that is initialised and unsealed after its first start.

    Attributes:
        ca: whom to trust for its certificate.
        secret_id_path: the AppRole's secret-id.
    """

    def __init__(self, folder: Path) -> None:
        """Prepare it; `start` starts it."""
        super().__init__(folder, port=free_port())
        # So that a machine without it is told before anything is made.
        self._program = locate.openbao_server()
        self._cluster_port = free_port()
        authority = Authority(folder / "ca")
        self.ca = authority.path
        self._certificate = authority.issue("openbao", "127.0.0.1")
        self._unseal_key = self._admin_token = self.role_id = ""
        self.secret_id_path = folder / "secret-id"

    def command(self) -> list[str]:
        """Run it with a file."""
        path, data = self.folder / "server.hcl", self.folder / "data"
        data.mkdir(exist_ok=True)
        path.write_text(
            f'storage "raft" {{\n  path = "{data}"\n  node_id = "one"\n'
            "  performance_multiplier = 1\n}\n"
            f'listener "tcp" {{\n  address = "127.0.0.1:{self.port}"\n'
            f'  cluster_address = "127.0.0.1:{self._cluster_port}"\n'
            f'  tls_cert_file = "{self._certificate.path}"\n'
            f'  tls_key_file = "{self._certificate.key_path}"\n}}\n'
            f'api_addr = "https://127.0.0.1:{self.port}"\n'
            f'cluster_addr = "https://127.0.0.1:{self._cluster_port}"\n'
        )
        return [str(self._program), "server", f"-config={path}"]

    def answers(self) -> bool:
        """Whether it speaks, sealed or not."""
        try:
            self._call("GET", "sys/seal-status")
        except (OSError, http.client.HTTPException):
            return False
        return True

    def start(self) -> None:
        """Start it, and have it unsealed."""
        super().start()
        if not self._unseal_key:
            made = self.ask("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
            self._unseal_key, self._admin_token = made["keys"][0], made["root_token"]
            self.unseal()
            self._set_up()
        else:
            self.unseal()

    def seal(self) -> None:
        """Have it know nothing."""
        self.ask("PUT", "sys/seal")

    def unseal(self) -> None:
        """Have it know all again."""
        self.ask("PUT", "sys/unseal", {"key": self._unseal_key})
        # Before it leads itself it serves nobody.
        until(lambda: self._call("GET", "sys/health")[0] == HTTPStatus.OK, "OpenBao is unsealed")

    def revoke_tokens(self) -> None:
        """Have all of the role's logins end."""
        self.ask("PUT", "sys/leases/revoke-prefix/auth/approle/login")

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Do something as its administrator."""
        status, answer = self._call(method, path, body)
        if status >= HTTPStatus.MULTIPLE_CHOICES:
            raise OpenBaoError(f"{method} {path}: {status} {answer}")
        return answer

    def url_of(self, role: str = "kek", names: str = "", *, port: int = 0) -> str:  # noqa: ARG002  # as others have it
        """Return it as the setting keyring.root names it; the role is the key's name."""
        where = f"127.0.0.1:{port or self.port}/transit/{role}"
        options = f"role-id={self.role_id}&secret-id-file={self.secret_id_path}"
        return f"openbao://{where}?ca={self.ca}&{options}"

    def forget(self, names: str) -> None:
        """Nothing is kept by name here."""

    def _set_up(self) -> None:
        self.ask("POST", "sys/mounts/transit", {"type": "transit"})
        self.ask("POST", "transit/keys/kek")
        self.ask("POST", "transit/keys/not-allowed")
        self.ask("PUT", "sys/policies/acl/kmworker", {"policy": POLICY})
        self.ask("POST", "sys/auth/approle", {"type": "approle"})
        role = "auth/approle/role/kmworker"
        self.ask("POST", role, {"token_policies": "kmworker", "token_ttl": "10m"})
        self.role_id = self.ask("GET", f"{role}/role-id")["data"]["role_id"]
        self.write_secret_id(self.ask("POST", f"{role}/secret-id")["data"]["secret_id"])

    def write_secret_id(self, secret_id: str) -> str:
        """Hand the role a secret-id; returns the one that was there."""
        before = self.secret_id_path.read_text() if self.secret_id_path.exists() else ""
        self.secret_id_path.touch(mode=0o600)
        self.secret_id_path.write_text(secret_id)
        return before

    def _call(
        self, method: str, path: str, body: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        tls = ssl.create_default_context(cafile=str(self.ca))
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=PROBE_TIMEOUT_S, context=tls
        )
        try:
            headers = {"X-Vault-Token": self._admin_token} if self._admin_token else {}
            connection.request(method, f"/v1/{path}", json.dumps(body or {}), headers)
            answer = connection.getresponse()
            content = answer.read()
            return answer.status, json.loads(content) if content else {}
        finally:
            connection.close()
