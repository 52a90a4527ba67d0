"""A worker that acknowledges before it works, and dies of its first event.

What a check of "nothing is lost" must find out.
"""

import os
import signal

from kmworker.bootstrap.worker import build_worker
from kmworker.bus.rabbit import RabbitBus
from kmworker.domain.message import Delivery
from kmworker.settings import load_settings
from kmworker.worker.stages import Milestone


def main() -> None:
    """Work until the first event is committed."""
    receive = RabbitBus.receive

    def careless(bus: RabbitBus, limit: int, timeout_s: float) -> list[Delivery]:
        deliveries = receive(bus, limit, timeout_s)
        if deliveries:
            bus.acknowledge(deliveries)
            # A synchronous call behind them: the acknowledgements have arrived.
            bus.counts()
        return deliveries

    def on_milestone(step: Milestone) -> None:
        if step is Milestone.COMMIT:
            os.kill(os.getpid(), signal.SIGKILL)

    RabbitBus.receive = careless  # type: ignore[method-assign,assignment]
    build_worker(load_settings(None, os.environ), on_milestone).run()


if __name__ == "__main__":
    main()
