"""A key server, as its program runs it."""

import os
import platform
import secrets
from collections.abc import Callable
from typing import Final

from kmworker.bootstrap.assembly import assemble_key_server
from kmworker.bootstrap.audit import open_key_servers_trail
from kmworker.bootstrap.brokers import read_keep, stream_client
from kmworker.bus.request_queue import RabbitRequestQueue
from kmworker.bus.revocation_queue import RabbitRevocationQueue
from kmworker.clock import StoreClock, SystemClock
from kmworker.crypto import followed
from kmworker.crypto.roots import open_root
from kmworker.delegation.answers import AnswerSigner
from kmworker.delegation.identity import KEY_SERVER_FILE, Identity
from kmworker.delegation.trust_list import HandedOut, newest
from kmworker.embedded.request_stream import StreamRequestQueue
from kmworker.embedded.revocation_stream import StreamRevocationQueue
from kmworker.keyserver.answering import AnswerStep
from kmworker.keyserver.loop import KeyServer, SignerFor
from kmworker.keyserver.ports import RequestQueue, RevocationQueue
from kmworker.settings import BrokerSettings, Settings
from kmworker.store.connection import connect
from kmworker.store.inspection import Views
from kmworker.store.names import Names

__all__ = ["build_key_server", "signing_with"]

PREFETCH: Final = 2_000
"""Requests at hand: those that wait for their grants among them. A quorum queue gives no more."""


def build_key_server(
    settings: Settings, on_step: Callable[[AnswerStep], None] = lambda _step: None
) -> KeyServer:
    """Put a key server together; nothing is sent yet.

    Args:
        settings: as loaded.
        on_step: called before each step; tests end the process there.

    Raises:
        RootAway: the keyring's root cannot be asked now.
        SetupError: no store or broker is configured, or a file of keys cannot be used.
    """
    server_id = f"{platform.node()}-{os.getpid()}-{secrets.token_hex(3)}"
    clock = StoreClock(SystemClock())
    identity = Identity.load(settings.keyserver.identity, KEY_SERVER_FILE)
    return assemble_key_server(
        settings,
        Views(connect(settings.store), Names(settings.store.prefix)),
        followed(settings.keyring.path, open_root(settings.keyring.root)),
        clock,
        queue=_open_request_queue(settings.broker, f"kmworker {server_id}"),
        revocations=_open_revocation_queue(settings.broker, f"kmworker {server_id}"),
        trail=open_key_servers_trail(settings),
        signer_for=signing_with(identity, clock.now),
        server_id=server_id,
        kept=lambda: read_keep(settings.broker, f"{server_id} anchor"),
        on_step=on_step,
    )


def _open_request_queue(settings: BrokerSettings, name: str) -> RequestQueue:
    client = stream_client(settings)
    if client is None:
        return RabbitRequestQueue(settings, name, prefetch=PREFETCH)
    return StreamRequestQueue(client, namespace=settings.namespace, prefetch=PREFETCH)


def _open_revocation_queue(settings: BrokerSettings, name: str) -> RevocationQueue:
    client = stream_client(settings)
    if client is None:
        return RabbitRevocationQueue(settings, name)
    return StreamRevocationQueue(client, namespace=settings.namespace)


def signing_with(identity: Identity, now: Callable[[], float]) -> SignerFor:
    """Return what makes signers with this identity.

    Args:
        identity: the key server's.
        now: Unix seconds.
    """

    def signer_for(handed_out: HandedOut, installation: str, source: str) -> AnswerSigner:
        trust = handed_out.checked(installation)
        # No client would believe what it carries.
        newest(None, trust, now())
        return AnswerSigner(identity, trust, source)

    return signer_for
