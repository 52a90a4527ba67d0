"""Answers on their way, so that no client's address keeps others from theirs.

An address is what the client's user of the broker says it is, and RabbitMQ (3.10.8, 4.0.5) ends
the connection of whoever publishes to one that it cannot decode.
"""

from collections.abc import Callable, Sequence
from typing import Final

import structlog

from kmworker.domain.message import Delivery
from kmworker.errors import PublishRefused
from kmworker.keyserver.ports import Reply, RequestQueue
from kmworker.keyserver.tally import AnswerTally

__all__ = ["AnswerSending"]

log = structlog.get_logger()

HARMFUL_ADDRESS: Final = "harmful-address"
Replies = Sequence[tuple[Delivery, Reply]]


class AnswerSending:
    """Sends the answers of a batch."""

    def __init__(self, queue: RequestQueue, tally: AnswerTally, bar: Callable[[str], None]) -> None:
        """Prepare.

        Args:
            queue: whose connection it is.
            tally: what is counted.
            bar: called with a client that is to be heard no more for a while.
        """
        self._queue = queue
        self._tally = tally
        self._bar = bar

    def send(self, replies: Replies) -> None:
        """Send all; those of a client whose address ends the connection are lost, and no others.

        Raises:
            BrokerUnavailable: some may not have been sent.
        """
        try:
            self._send(replies)
        except PublishRefused:
            of_each: dict[str, list[tuple[Delivery, Reply]]] = {}
            for it in replies:
                of_each.setdefault(str(it[0].original.properties["user_id"]), []).append(it)
            for client, own in of_each.items():
                self._send_of_one(client, own)

    def _send_of_one(self, client: str, replies: Replies) -> None:
        self._queue.open()
        try:
            self._send(replies)
        except PublishRefused as refused:
            log.error("an address ends the connection", client=client, detail=str(refused))  # noqa: TRY400
            self._bar(client)
            for _ in replies:
                self._tally.dropped(HARMFUL_ADDRESS)

    def _send(self, replies: Replies) -> None:
        sent = self._queue.send([reply for _delivery, reply in replies])
        self._tally.unrouted(sent.result())
