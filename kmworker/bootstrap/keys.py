"""What asks key servers on a host that is a client, as its programs use it."""

from collections.abc import Sequence
from functools import partial

from kmworker.bootstrap.brokers import stream_client
from kmworker.bus.asker import Asker
from kmworker.client.conversation import Inquiry
from kmworker.client.keys import Keys
from kmworker.embedded.asker import StreamAsker
from kmworker.settings import BrokerSettings, Settings

__all__ = ["open_keys"]


def open_keys(settings: Settings) -> Keys:
    """Return what gets keys; it connects when it is first asked.

    Unlike programs, commands of `kmworker up`'s one owner may ask over its streams.

    Raises:
        SetupError: no broker is configured, or a file of this host's cannot be used.
    """
    broker, client = settings.broker, settings.client
    return Keys(
        broker.addresses,
        identity=client.identity,
        enrolment=client.enrolment,
        namespace=broker.namespace,
        deadline_s=client.deadline_s,
        inquire=partial(_open_inquiry, broker),
    )


def _open_inquiry(settings: BrokerSettings, name: str, own_queues: Sequence[str]) -> Inquiry:
    client = stream_client(settings)
    if client is None:
        return Asker(settings, name, own_queues)
    return StreamAsker(client, settings.namespace, own_queues)
