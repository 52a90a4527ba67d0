"""RabbitMQ's management API, for what the tests' administrator does often: it takes milliseconds.

The control program would take a second each time.
"""

import json
from base64 import b64encode
from typing import Any, Final
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

TIMEOUT_S: Final = 60.0


class Management:
    """The API of one broker, as one user."""

    def __init__(self, address: str, user: str, password: str) -> None:
        """Take the address, like `http://127.0.0.1:15672`, as it is."""
        self._address = address
        self._login = b64encode(f"{user}:{password}".encode()).decode()

    def answers(self) -> bool:
        """Whether it serves this user."""
        try:
            self._call("GET", "whoami")
        except (URLError, ConnectionError, TimeoutError):
            return False
        return True

    def import_definitions(self, definitions: dict[str, Any]) -> None:
        """Create what is missing of all this, as `rabbitmqctl import_definitions` does."""
        self._call("POST", "definitions", definitions)

    def delete_vhost(self, name: str) -> None:
        """Delete a vhost and all that is in it."""
        self._call("DELETE", f"vhosts/{quote(name, safe='')}")

    def set_policy(self, vhost: str, name: str, policy: dict[str, Any]) -> None:
        """Set a policy; it takes its time to reach the queues."""
        self._call("PUT", f"policies/{quote(vhost, safe='')}/{quote(name, safe='')}", policy)

    def clear_policy(self, vhost: str, name: str) -> None:
        """Clear it."""
        self._call("DELETE", f"policies/{quote(vhost, safe='')}/{quote(name, safe='')}")

    def set_user(self, name: str, password: str) -> None:
        """Add a user, who may do nothing yet."""
        self._call("PUT", f"users/{quote(name, safe='')}", {"password": password, "tags": ""})

    def permit(self, vhost: str, user: str, configure: str, write: str, read: str) -> None:
        """Say what a user may do in a vhost."""
        rights = {"configure": configure, "write": write, "read": read}
        self._call("PUT", f"permissions/{quote(vhost, safe='')}/{quote(user, safe='')}", rights)

    def delete_user(self, name: str) -> None:
        """Delete a user."""
        self._call("DELETE", f"users/{quote(name, safe='')}")

    def version(self) -> str:
        """Return the broker's version."""
        return str(self._call("GET", "overview")["rabbitmq_version"])

    def _call(self, method: str, path: str, document: Any = None) -> Any:
        headers = {"Authorization": f"Basic {self._login}", "Content-Type": "application/json"}
        body = None if document is None else json.dumps(document).encode()
        request = Request(  # noqa: S310  # an address of our own
            f"{self._address}/api/{path}", body, headers, method=method
        )
        with urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310  # as above
            text = answer.read()
        return json.loads(text) if text else None
