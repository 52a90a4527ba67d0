"""RabbitMQ's management API, for what an AMQP connection cannot see: which policies are in effect.

Only questions. The account needs the tag `management` and any right in the vhost, be it one that
allows nothing (`^$`).
"""

import json
from base64 import b64encode
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, Final, TypeVar
from urllib.parse import quote

from kmworker.errors import BrokerUnavailable, NotCounted, SetupError
from kmworker.settings.tls import checked_options, client_context
from kmworker.settings.urls import Address, parse, redacted_url

__all__ = ["Governed", "Management"]

# A queue with a thousand consumers is described in half of this.
MAX_ANSWER_BYTES: Final = 2 * 1024 * 1024
T = TypeVar("T", dict[str, Any], list[Any])
OK, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, FAULT = 200, 401, 403, 404, 500


@dataclass(frozen=True, slots=True)
class Governed:
    """What applies to a queue."""

    queue: str
    arguments: dict[str, Any]
    """Of its declaration, by their names with `x-`."""
    effective: dict[str, Any]
    """The policy in effect, merged with the operator's."""
    policy: str = ""
    """The name of the user policy; empty: none."""
    priority: int = 0
    """The user policy's."""
    operator_policy: str = ""
    operators: frozenset[str] = frozenset()
    """What the operator policy sets."""
    messages: int = 0
    size_bytes: int = 0
    """Of all its messages' bodies."""


class Management:
    """The API of one broker.

    Args:
        url: `broker.management_url`.
        vhost: whose queues are asked about.
        timeout_s: for each connection and answer.
    """

    def __init__(self, url: str, vhost: str, timeout_s: float) -> None:
        self._url = url
        self._address = parse(url)
        self._vhost = quote(vhost, safe="")
        self._timeout_s = timeout_s

    def governed(self, queue: str) -> Governed | None:
        """Return what applies to a queue, as of some seconds ago; None if there is no such queue.

        Raises:
            BrokerUnavailable: the API is not there.
            NotCounted: it does not know, or fails, as it does for some seconds after a start.
            SetupError: it refuses this user, or is none.
        """
        found = self._get(f"queues/{self._vhost}/{quote(queue, safe='')}", dict)
        if found is None:
            return None
        if "effective_policy_definition" not in found:
            raise NotCounted(
                f"{redacted_url(self._url)} does not know the policy of {queue}: it does some"
                " seconds after its start, unless its statistics are switched off"
            )
        policy, operator = found.get("policy") or "", found.get("operator_policy") or ""
        return Governed(
            queue,
            _table(found.get("arguments")),
            _table(found["effective_policy_definition"]),
            policy,
            int(self._policy("policies", policy).get("priority", 0)),
            operator,
            frozenset(_table(self._policy("operator-policies", operator).get("definition"))),
            _size(found.get("messages")),
            _size(found.get("message_bytes")),
        )

    def _policy(self, kind: str, name: str) -> dict[str, Any]:
        # All of them: one by its name is for policymakers alone.
        listed = (self._get(f"{kind}/{self._vhost}", list) or []) if name else []
        return next((_table(it) for it in listed if _table(it).get("name") == name), {})

    def _get(self, path: str, kind: type[T]) -> T | None:
        connection = _connection(self._url, self._address, self._timeout_s)
        try:
            connection.request(
                "GET", f"{self._address.path.rstrip('/')}/api/{path}", headers=_login(self._address)
            )
            with connection.getresponse() as answer:
                body = answer.read(MAX_ANSWER_BYTES + 1)
        except (OSError, HTTPException) as error:
            what = str(error) or type(error).__name__
            raise BrokerUnavailable(f"{redacted_url(self._url)}: {what}") from error
        finally:
            connection.close()
        if answer.status == NOT_FOUND:
            return None
        return self._document(answer.status, body, kind)

    def _document(self, status: int, body: bytes, kind: type[T]) -> T:
        where = redacted_url(self._url)
        if status in {UNAUTHORIZED, FORBIDDEN}:
            raise SetupError(
                f"{where}: this user may not look ({status})",
                "it needs the tag management, and a right in the vhost: see config/rabbitmq/",
            )
        if status >= FAULT:
            raise NotCounted(
                f"{where} fails ({status}): it does for some seconds after its start, else its"
                " broker's log says why"
            )
        try:
            document = json.loads(body) if status == OK else None
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, kind):
            raise SetupError(
                f"{where}: no management API answers there ({status})",
                "broker.management_url is where its web page is, e.g. https://host:15671",
            )
        return document


def _connection(url: str, address: Address, timeout_s: float) -> HTTPConnection:
    options = checked_options(url, address, "https")
    if address.scheme == "https":
        context = client_context(options, "management API")
        return HTTPSConnection(address.host, address.port, timeout=timeout_s, context=context)
    return HTTPConnection(address.host, address.port, timeout=timeout_s)


def _login(address: Address) -> dict[str, str]:
    login = f"{address.user or ''}:{address.password or ''}".encode()
    return {"Authorization": f"Basic {b64encode(login).decode()}"}


def _size(found: Any) -> int:
    # Left out for some seconds after a start.
    return found if isinstance(found, int) else 0


def _table(found: Any) -> dict[str, Any]:
    # Erlang's empty list may stand for an empty table.
    return found if isinstance(found, dict) else {}
