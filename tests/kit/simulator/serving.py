"""A key server as a process beside the workers, and who ends what it answers by."""

from typing import Final, cast

from kmworker.bootstrap.assembly import assemble_key_server
from kmworker.bootstrap.keyserver import PREFETCH, signing_with
from kmworker.bus.audit_trail import RabbitAuditTrail
from kmworker.bus.request_queue import RabbitRequestQueue
from kmworker.bus.revocation_queue import RabbitRevocationQueue
from kmworker.keyserver.ports import RequestQueue
from kmworker.store.inspection import Views
from tests.kit.simulator.clients import KEY_SERVER, Client, revoke_in
from tests.kit.simulator.delivery_ledger import WatchedQueue
from tests.kit.simulator.errands import Doing, Hand, until_it_is_done
from tests.kit.simulator.invariants import Invariant
from tests.kit.simulator.store import SimulatedClient

__all__ = ["revokes", "serves"]

PATIENCE_S: Final = 120.0
"""Longer than it takes to notice that a connection is stalled, and then to be confirmed nothing."""


def serves(hand: Hand) -> None:
    """Be a key server, until there is nothing to answer."""
    site, host = hand.site, hand.host
    settings, monotonic = site.settings, site.clock.monotonic
    real = RabbitRequestQueue(
        settings.broker, hand.name, prefetch=PREFETCH, connect=host.connect, monotonic=monotonic
    )
    queue = WatchedQueue(site, cast("RequestQueue", real))

    def on_effect(command: str) -> None:
        site.ledger.on_store(command)
        queue.looked(command)

    client = SimulatedClient(site.server, host.steps, on_effect, role="keyserver", clock=site.clock)
    host.strike_store = client.strike
    server = assemble_key_server(
        settings,
        Views(client, site.names),
        site.opened(),
        hand.clock,
        queue=cast("RequestQueue", queue),
        trail=RabbitAuditTrail(
            settings.broker, "key-server", connect=host.connect, monotonic=monotonic
        ),
        revocations=RabbitRevocationQueue(
            settings.broker, hand.name, connect=host.connect, monotonic=monotonic
        ),
        kept=lambda: site.broker.anchors,
        signer_for=signing_with(KEY_SERVER, hand.clock.now),
        server_id=hand.name,
    )
    until_s = monotonic() + PATIENCE_S

    def when_idle(seconds: float) -> None:
        is_late = monotonic() > until_s
        if is_late:
            site.ledger.violated(Invariant.AT_REST, f"{hand.name} is not done with all requests")
        if is_late or not host.has_at_hand(site.broker.topology.requests):
            server.stop()
        site.clock.advance(seconds)

    host.when_idle = when_idle
    server.run()


def revokes(client: Client) -> Doing:
    """Be an operator who revokes a client."""

    def do(hand: Hand) -> None:
        until_it_is_done(hand, lambda: revoke_in(hand.site.clients.register(hand.views), client))

    return do
