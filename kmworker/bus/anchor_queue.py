"""One message that the broker keeps for workers to come.

It is replaced, never changed: the new one is confirmed before the old one is acknowledged,
so that at least one is always there. Whoever looks while another replaces it finds nothing
for a moment, and looks again.
"""

import time
from collections.abc import Callable
from typing import Any, Final

import structlog

from kmworker.bus.amqp.link import Link
from kmworker.bus.declaring import ensure_anchor
from kmworker.bus.inspection import Inspection
from kmworker.domain.message import Confirm, Outgoing
from kmworker.errors import BrokerUnavailable
from kmworker.wire.properties import PERSISTENT
from kmworker.wire.topology import Topology

__all__ = ["AnchorQueue"]

log = structlog.get_logger()

LOOKS: Final = 3
LOOK_AGAIN_S: Final = 0.03
MAX_KEPT: Final = 100


class AnchorQueue:
    """The anchor's queue, on a connection that others use, too."""

    def __init__(
        self, link: Link, topology: Topology, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._link = link
        self._topology = topology
        self._sleep = sleep
        self._channel: Any = None

    def open(self, *, only_reads: bool = False) -> None:
        """Look whether this broker keeps an anchor for us; it need not.

        Args:
            only_reads: nothing is to be written there.

        Raises:
            BrokerUnavailable: the connection is gone.
        """
        self._channel = None
        with self._link.call():
            if not only_reads:
                ensure_anchor(self._link.connection, self._topology)
            if Inspection(self._link, self._topology).may_anchor(only_reads=only_reads):
                self._channel = self._link.connection.channel()
            else:
                # Once for each connection: an operator may be giving the right just now.
                rights = "read" if only_reads else "read and write"
                log.warning(
                    "no anchor on the broker",
                    detail="who starts will not notice a store that was rolled back",
                    hint=f"grant {rights} on {self._topology.anchor}; see config/rabbitmq/",
                )

    def kept(self) -> list[bytes]:
        """Return what is kept, and leave it there.

        Raises:
            BrokerUnavailable: the connection is gone.
        """
        if self._channel is None:
            return []
        kept = self._kept()
        self._answer(kept, "basic_reject", requeue=True)
        return [message.body for message in kept]

    def swap(
        self,
        choose: Callable[[list[bytes]], bytes],
        publish: Callable[[list[Outgoing]], list[Confirm]],
    ) -> None:
        """Replace what is kept by what ``choose`` makes of it.

        Raises:
            BrokerUnavailable: it may not have been replaced; what was kept still is.
        """
        if self._channel is None:
            return
        kept = self._kept()
        try:
            is_kept = self._publish(choose([message.body for message in kept]), publish)
        except BrokerUnavailable:
            # The other connection is gone, not this one: let others find what is kept.
            self._answer(kept, "basic_reject", requeue=True)
            raise
        if is_kept:
            self._answer(kept, "basic_ack")
            return
        # An older one is better than none; and no event waits for an anchor.
        self._answer(kept, "basic_reject", requeue=True)
        log.warning(
            "the anchor is not replaced",
            detail=f"the queue {self._topology.anchor} refused to store it",
            hint="lift what a policy limits on it; see config/rabbitmq/",
        )

    def _publish(self, body: bytes, publish: Callable[[list[Outgoing]], list[Confirm]]) -> bool:
        name = self._topology.anchor
        properties = {"content_type": "application/json", "delivery_mode": PERSISTENT}
        (confirm,) = publish([Outgoing(name, name, body, properties)])
        if confirm is Confirm.UNROUTED:
            raise BrokerUnavailable(f"no queue is bound to {name}")
        return confirm is Confirm.STORED

    def _answer(self, kept: list[Any], method: str, **arguments: bool) -> None:
        with self._link.errors():
            for message in kept:
                getattr(self._channel, method)(message.delivery_tag, **arguments)

    def _kept(self) -> list[Any]:
        kept: list[Any] = []
        for look in range(LOOKS):
            if look:
                self._sleep(LOOK_AGAIN_S)
            with self._link.call():
                while len(kept) < MAX_KEPT:
                    message = self._channel.basic_get(self._topology.anchor)
                    if message is None:
                        break
                    kept.append(message)
                    # It says how many are left: to ask once more would take as long again.
                    if not message.delivery_info["message_count"]:
                        break
            if kept:
                break
        return kept
