"""A replica in its primary's place: the address is the same, and who had connected may stay so."""

from random import Random
from typing import Any, Final

import redis

from tests.chaos.fault import Lift
from tests.chaos.ground import Ground
from tests.kit.polling import until
from tests.kit.servers import StoreServer
from tests.kit.servers.accounts import store_user

PATIENCE_S: Final = 300.0
# Until a replica has taken over, which is soon.
PAUSE_MS: Final = 60_000


def promote_replica(ground: Ground, draw: Random) -> Lift:
    """Fail over as one plans it: the replica has everything when it takes the address."""
    old = ground.store
    replica = _level_replica(ground)
    replica.lead()
    ground.take_over(replica)
    old.close()
    return lambda: None


def hand_over(ground: Ground, draw: Random) -> Lift:
    """Change the roles: the old primary lives on, read-only, and keeps its connections."""
    old = ground.store
    replica = _level_replica(ground)
    replica.lead()
    old.follow(replica)
    with old.admin() as theirs:
        theirs.execute_command("CLIENT", "UNPAUSE")
    ground.take_over(replica, keeping=True)

    def lift() -> None:
        # One that is stopped cannot leave it.
        until(
            lambda: _workers_on(old, ground) <= len(ground.paused),
            "workers leave the old primary",
            within_s=PATIENCE_S,
        )
        old.close()

    return lift


def _level_replica(ground: Ground) -> StoreServer:
    """Return a replica that has everything; its primary takes no more writes for a minute."""
    replica = ground.servers.replace_store(ground.kind)
    replica.follow(ground.store)
    with replica.admin() as ours, ground.store.admin() as theirs:
        until(lambda: _follows(ours), "the replica follows", within_s=PATIENCE_S)
        theirs.execute_command("CLIENT", "PAUSE", PAUSE_MS, "WRITE")
        until(
            lambda: _position(ours) == _position(theirs), "it has everything", within_s=PATIENCE_S
        )
    return replica


def _follows(replica: "redis.Redis") -> bool:
    """Whether it has read the primary's data, and written it to its own file."""
    link: Any = replica.info("replication")
    found: Any = replica.info("persistence")
    is_writing = found["aof_rewrite_in_progress"] or found["aof_rewrite_scheduled"]
    return link["master_link_status"] == "up" and not is_writing


def _position(store: "redis.Redis") -> int:
    found: Any = store.info("replication")
    return int(found["master_repl_offset"])


def _workers_on(store: StoreServer, ground: Ground) -> int:
    user = store_user("worker", ground.prefix)
    with store.admin() as client:
        clients: Any = client.client_list()
    return sum(it["user"] == user for it in clients)
