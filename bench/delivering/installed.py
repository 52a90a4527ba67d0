"""An installation with nodes, to each of which its share of the volumes is attached."""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench.delivering.askers import Node
from bench.delivering.waits import Parties
from bench.servers import BROKER_OPTIONS, STORE_OPTIONS
from kmworker.clock import rfc3339
from kmworker.crypto import Keyring, KeyringCustody
from kmworker.delegation.clients import ClientRecord, Right, Rights, Stamp, enrolled
from kmworker.delegation.encoded import from_text
from kmworker.delegation.enrolment import Enrolment
from kmworker.delegation.identity import Identity
from kmworker.domain.audit import Act, Actor, ActorKind, AuditRecord
from kmworker.domain.keys import Operator
from kmworker.domain.model import Kind
from kmworker.settings import StoreSettings
from kmworker.store.admission import enter
from kmworker.store.client_register import ClientRegister
from kmworker.store.connection import connect
from kmworker.store.inspection import Views
from kmworker.store.names import Names
from kmworker.store.records import RecordCodec
from tests.kit.outside.delegating import P, attached, delegating
from tests.kit.outside.wire import said
from tests.kit.outside.worker import Site
from tests.kit.polling import until
from tests.kit.servers import RabbitMQ, redis_store

__all__ = ["Installation", "installed"]

PATIENCE_S: Final = 300.0
TOLD_AT_ONCE: Final = 2_000
RATE_PER_S: Final = 100_000
"""What one client may ask where the measurement is of what key servers can, not of what each may:
the default would hold them to 50."""


@dataclass(frozen=True, slots=True)
class Installation:
    """All of it but key servers."""

    site: Site
    nodes: Sequence[Node]
    parties: Parties

    def unbound(self) -> Site:
        """Return it with clients that may ask as often as they like."""
        bounds = {"RATE_PER_S": str(RATE_PER_S), "BURST": str(RATE_PER_S)}
        settings = {f"KMWORKER_KEYSERVER__{name}": it for name, it in bounds.items()}
        return replace(self.site, settings={**self.site.settings, **settings})


@contextmanager
def installed(folder: Path, volumes: int, nodes: int) -> Iterator[Installation]:
    """Run it on private servers, with the shipped accounts."""
    for name in ("broker", "store", "site", "nodes"):
        (folder / name).mkdir()
    broker = RabbitMQ(folder / "broker", BROKER_OPTIONS)
    store = redis_store(folder / "store", STORE_OPTIONS)
    try:
        broker.start()
        store.start()
        site = Site(folder / "site", broker, store, "kmworker", "km")
        site.lay_keyring()
        with delegating(site, 0) as made:
            made.tell(*(_created(it) for it in range(volumes)))
            for at in range(0, volumes, TOLD_AT_ONCE):
                some = range(at, min(at + TOLD_AT_ONCE, volumes))
                made.tell(*(attached(f"v{it}", node=f"node-{it % nodes}") for it in some))
            grants = f"km:{{{P}}}:grants"
            count: Any = site.reader.admin
            until(lambda: count.hlen(grants) == volumes, "all are attached", within_s=PATIENCE_S)
            hosts = _enrolled(made.site, broker, folder / "nodes", volumes, nodes)
            yield Installation(made.site, hosts, Parties((), [broker.pid], [store.pid]))
    finally:
        broker.close()
        store.close()


def _created(number: int) -> str:
    event = said("volume-created", f"new v{number}", P, volume_id=f"v{number}")
    return event.body.decode() + "\n"


def _enrolled(site: Site, broker: RabbitMQ, folder: Path, volumes: int, nodes: int) -> list[Node]:
    """Make each node a client, with a user of the broker's of its own.

    In this process: by command each would take seconds.
    """
    settings = StoreSettings(url=site.store_url("key-operator"), prefix=site.prefix)
    views = Views(connect(settings), Names(site.prefix))
    custody = KeyringCustody(Keyring.load(site.keyring))
    installation = enter(custody, views).layout.installation
    register = ClientRegister(views, RecordCodec(custody))
    trust = register.trust()
    assert trust is not None
    root = from_text(trust.root)
    assert root is not None
    now = rfc3339(views.clock_s())
    passwords = {f"node-{it}": secrets.token_hex(16) for it in range(nodes)}
    _give_accounts(broker, site.namespace, passwords)
    address = site.broker_url("client").partition("@")[2]
    made = []
    for number, (name, password) in enumerate(passwords.items()):
        own = folder / name
        own.mkdir()
        identity = Identity.generate(now)
        rights = Rights(
            frozenset({Right.GET}), frozenset({Kind.VOLUME}), ("*",), (name,), needs_grant=True
        )
        mark = Stamp(now, Operator("bench", "a measurement"))
        client = enrolled(None, name, identity.public, rights, mark)
        assert isinstance(client, ClientRecord)
        record = AuditRecord(
            Act.CLIENT_ENROLLED, Actor(ActorKind.OPERATOR, "bench"), now, client=name
        )
        register.change(name, partial(_as_it_is, client), record)
        identity.write(own / "identity.json")
        fingerprint = identity.public.fingerprint
        Enrolment(installation, name, fingerprint, root, now).write(own / "enrolment.json")
        url = f"amqp://{name}:{password}@{address}"
        made.append(Node(own, url, site.namespace, P, range(number, volumes, nodes)))
    return made


def _as_it_is(client: ClientRecord, _before: ClientRecord | None) -> ClientRecord:
    return client


def _give_accounts(broker: RabbitMQ, namespace: str, passwords: dict[str, str]) -> None:
    """Give each node the account that config/rabbitmq/README.md describes."""
    rights = {"configure": "^$", "write": f"^{namespace}\\.requests$", "read": "^$"}
    users = [
        {"name": name, "password": password, "tags": []} for name, password in passwords.items()
    ]
    permissions = [{"user": name, "vhost": namespace, **rights} for name in passwords]
    broker.import_definitions({"users": users, "permissions": permissions})
