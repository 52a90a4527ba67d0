"""An auditor, as its program runs it, and the way into the trail for whoever records."""

import os

from kmworker.audit.auditor import Auditor
from kmworker.audit.files import TrailFiles
from kmworker.bootstrap.brokers import stream_client
from kmworker.bus.audit_queue import RabbitAuditQueue
from kmworker.bus.audit_trail import RabbitAuditTrail
from kmworker.clock import SystemClock
from kmworker.crypto.audit_key import AuditKey
from kmworker.embedded.audit_stream import AuditStream, StreamAuditTrail
from kmworker.embedded.file_trail import FileAuditTrail
from kmworker.errors import SetupError
from kmworker.ports import AuditTrail
from kmworker.settings import BrokerSettings, Settings

__all__ = ["build_auditor", "open_audit_trail", "open_key_servers_trail"]


def build_auditor(settings: Settings) -> Auditor:
    """Put an auditor together; nothing is sent or written yet.

    Raises:
        SetupError: no broker is configured, or it has no audit trail; the key cannot be used.
    """
    if stream_client(settings.broker) is not None:
        raise SetupError(
            "with kmworker up, its key server writes the audit trail",
            "kmworker audit reads it; for an auditor of its own, set broker.url to amqp://…",
        )
    return Auditor(
        RabbitAuditQueue(settings.broker, f"kmworker auditor {os.getpid()}"),
        TrailFiles(settings.audit.directory, AuditKey.load(settings.audit.key)),
        SystemClock(),
        settings.audit,
    )


def open_audit_trail(settings: BrokerSettings, role: str, *, user: str | None = None) -> AuditTrail:
    """Return where a process records what it does; it connects when it does so first.

    Args:
        settings: where the broker is.
        role: which kind of process it is: `key-server`, `operator`, `worker`.
        user: as whom, where the broker calls us otherwise than the URL does.

    Raises:
        SetupError: no broker is configured.
    """
    client = stream_client(settings)
    if client is None:
        return RabbitAuditTrail(settings, role, user=user)
    return StreamAuditTrail(AuditStream(client, settings.namespace), role, settings.source)


def open_key_servers_trail(settings: Settings) -> AuditTrail:
    """Return where a key server records what it does; with streams, the files themselves.

    Raises:
        SetupError: no broker is configured, or the key of the trail's files cannot be used.
    """
    client = stream_client(settings.broker)
    if client is None:
        return open_audit_trail(settings.broker, "key-server")
    key = AuditKey.load(settings.audit.key)
    return FileAuditTrail(
        lambda: TrailFiles(settings.audit.directory, key),
        SystemClock(),
        settings.audit,
        settings.broker.source,
        AuditStream(client, settings.broker.namespace),
    )
