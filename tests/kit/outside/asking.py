"""A client that speaks to the broker itself: it says anything, as anybody, and keeps what comes.

What it sends need not be a request of its own, nor well signed; and it answers for nothing that
comes. `Host.check` holds an answer against a request as the client library does.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from time import time
from typing import Any, Final

import amqp

from kmworker.client.keys import Keys
from kmworker.delegation.checking import Checked, DeliveredKey, RefusedKey, check_answer
from kmworker.delegation.enrolment import Enrolment
from kmworker.delegation.identity import Identity
from kmworker.delegation.requests import SignedRequest, sign_request
from kmworker.delegation.signing import SIGNATURE_HEADER
from kmworker.domain.model import Item, Kind
from kmworker.wire.requests.key_requested import KeyRequested
from kmworker.wire.requests.request import DIRECT_REPLY
from tests.kit.outside.delegating import CLIENT, Delegation, P
from tests.kit.polling import until

__all__ = ["Answer", "Host", "Line", "host_of", "lined", "second_client", "volume_of"]

PASSWORD: Final = "another-client"
SLICE_S: Final = 0.1


def volume_of(name: str, project: str = P) -> Item:
    """Return a volume."""
    return Item(project, Kind.VOLUME, name)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came to whoever asked."""

    body: bytes
    properties: dict[str, Any] = field(repr=False)

    @property
    def said(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def word(self) -> str:
        """The reason of a refusal; of a delivery, its type."""
        return str(self.said["data"].get("reason", self.said["type"]))

    @property
    def signature(self) -> object:
        return self.properties["application_headers"][SIGNATURE_HEADER]


@dataclass(frozen=True, slots=True)
class Host:
    """A client's identity, and what it pins."""

    made: Delegation
    name: str
    identity: Identity
    enrolment: Enrolment
    url: str

    def request(self, name: str = "", *, late_s: float = 0.0, **more: Any) -> SignedRequest:
        """Return a signed request for a volume's key, made now or some seconds ago."""
        at = datetime.now(UTC) - timedelta(seconds=late_s)
        project = more.pop("project", P)
        if name:
            more["item"] = volume_of(name, project)
        asked = KeyRequested(
            project_id=project,
            time=at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            **{"reply_to": DIRECT_REPLY, **more},
        )
        return sign_request(asked, self.identity, self.enrolment.installation, self.name)

    def check(self, answer: Answer, request: SignedRequest) -> Checked:
        """Hold an answer against a request, as the library does; raises `Untrusted`."""
        return check_answer(
            answer.body, answer.signature, request, self.identity, self.enrolment,
            seen=None, now_s=time(),
        )  # fmt: skip

    def key_in(self, answer: Answer, request: SignedRequest) -> bytes:
        """Return the key that was delivered."""
        checked = self.check(answer, request).answer
        assert isinstance(checked, DeliveredKey), checked
        return bytes(checked.key.view)

    def refusal_in(self, answer: Answer, request: SignedRequest) -> str:
        """Return why there is none, as the host may believe it."""
        checked = self.check(answer, request).answer
        assert isinstance(checked, RefusedKey), checked
        return checked.reason.value

    def keys(self, **more: Any) -> Keys:
        """Return the library's own way to ask."""
        folder = self.made.host
        return Keys(
            more.pop("url", self.url),
            identity=folder / "identity.json",
            enrolment=folder / "enrolment.json",
            namespace=self.made.site.namespace,
            **more,
        )


class Line:
    """A connection, as some account, and all answers that have come by it."""

    def __init__(self, url: str, namespace: str) -> None:
        self.namespace = namespace
        self.answers: list[Answer] = []
        login, _, rest = url.removeprefix("amqp://").partition("@")
        user, _, password = login.partition(":")
        host, _, vhost = rest.partition("/")
        self.user = user
        self.connection: Any = amqp.Connection(
            host, user, password, virtual_host=vhost, connect_timeout=10, read_timeout=30
        )
        self.connection.connect()
        self.channel = self.connection.channel()
        self.channel.basic_consume(DIRECT_REPLY, no_ack=True, callback=self._take)

    def _take(self, message: Any) -> None:
        self.answers.append(Answer(bytes(_raw(message)), dict(message.properties)))

    def send(self, request: SignedRequest, **properties: Any) -> None:
        """Publish a request; what is given takes the place of what belongs there."""
        self.say(request.body, **{**request.properties(self.user), **properties})

    def say(self, body: bytes, *, routing_key: str = "key-requested", **properties: Any) -> None:
        """Publish anything to where requests go; properties that are None are left out."""
        kept = {name: it for name, it in properties.items() if it is not None}
        self.channel.basic_publish(
            amqp.Message(body, **kept),
            exchange=f"{self.namespace}.requests",
            routing_key=routing_key,
        )

    def pump(self, seconds: float = SLICE_S) -> None:
        """Take what comes in the meantime."""
        try:
            self.connection.drain_events(timeout=seconds)
        except TimeoutError:
            return

    def answers_to(self, request: SignedRequest) -> list[Answer]:
        """Return those that name this request."""
        wanted = request.asked.id
        return [it for it in self.answers if it.properties.get("correlation_id") == wanted]

    def answer_to(self, request: SignedRequest, within_s: float = 40.0) -> Answer:
        """Wait for the first."""
        found = until(
            lambda: self.answers_to(request), "it is answered", within_s=within_s,
            between=self.pump,
        )  # fmt: skip
        return found[0]

    def ask(self, request: SignedRequest, **properties: Any) -> Answer:
        """Send it, and wait for its answer."""
        self.send(request, **properties)
        return self.answer_to(request)

    def ask_all(self, requests: Sequence[SignedRequest]) -> list[Answer]:
        """Send all, then wait for all."""
        for it in requests:
            self.send(it)
        return [self.answer_to(it) for it in requests]

    def close(self) -> None:
        self.connection.close()


def _raw(message: Any) -> bytes:
    body = message.body
    return body.encode() if isinstance(body, str) else body


def host_of(made: Delegation, name: str = CLIENT, url: str = "") -> Host:
    """Return an enrolled host."""
    identity = Identity.load(made.host / "identity.json")
    enrolment = Enrolment.load(made.host / "enrolment.json", identity.public)
    return Host(made, name, identity, enrolment, url or made.site.broker_url("client"))


@contextmanager
def lined(host: Host, url: str = "") -> Iterator[Line]:
    """Connect as a host's account, or as another."""
    line = Line(url or host.url, host.made.site.namespace)
    try:
        yield line
    finally:
        line.close()


@contextmanager
def second_client(
    made: Delegation, broker: Any, name: str, enrol: Callable[..., None], *options: str
) -> Iterator[Host]:
    """Enrol another host, with a broker account of its own, as config/rabbitmq says."""
    made_on_host = replace(made, host=made.site.folder / f"host-{name}")
    made_on_host.host.mkdir()
    namespace = made.site.namespace
    with broker.user(name, PASSWORD) as permit:
        own = f"^{namespace}\\.clients\\.{name}/[0-7]$"
        permit(namespace, own, f"^{namespace}\\.requests$", own)
        enrol(made_on_host, *options, name=name)
        url = made.site.broker_url("client").partition("@")[2]
        yield host_of(made_on_host, name, f"amqp://{name}:{PASSWORD}@{url}")
