"""With the shipped accounts and settings, a store that starts again has all that it was given.

It reads its append-only file as user `default`. Redis 7.0 asks there whether that user may run
what a script once wrote, and leaves out whatever it may not.
"""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest
import redis
from redis.exceptions import BusyLoadingError

from kmworker.crypto import Keyring, KeyringCustody
from kmworker.domain.plan import WriteStatus
from tests.integration.privilege.accounts import Store
from tests.kit.polling import until
from tests.kit.servers import StoreServer
from tests.kit.store.backends import ServerBackend
from tests.kit.store.builders import Drafts, snapshot, volume
from tests.kit.store.stand import Stand

PROJECTS: Final = ("acme", "beta")
VOLUMES: Final = 20


def rewrite_and_kill(server: StoreServer) -> None:
    server.rewrite()
    server.kill()


ENDS: Final[dict[str, Callable[[StoreServer], None]]] = {
    "SIGTERM": StoreServer.stop,
    "SIGKILL": StoreServer.kill,
    "a rewrite and SIGKILL": rewrite_and_kill,
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_every_record_is_there_after_a_restart(
    own_store: Store, tmp_path: Path, end: Callable[[StoreServer], None]
) -> None:
    keyring = Keyring.generate(tmp_path / "keyring")
    # What stands behind a rewrite is read otherwise than what was rewritten.
    for name, ended in (("first", end), ("second", ENDS["SIGKILL"])):
        fill(own_store, keyring, name)
        with own_store.administrator() as client:
            before = contents(client)
        ended(own_store.server)
        own_store.server.start()
        with own_store.administrator() as client:
            until(lambda: not _is_loading(client), "it has read its files")
            assert contents(client) == before


def fill(store: Store, keyring: Keyring, name: str) -> None:
    """Write what a worker writes, by its own code and under its own account."""
    with ExitStack() as stack:
        stand = Stand(ServerBackend(store.server), "km", KeyringCustody(keyring), stack)
        worker, draft = stand.store(allow_volatile=False), Drafts(keyring.newest)
        worker.admit()
        for project in PROJECTS:
            writes: list[Any] = [
                draft.create(volume(f"{name}{number}", project)) for number in range(VOLUMES)
            ]
            writes.append(draft.park(volume("w", project), snapshot(name, project), name))
            outcomes = {answer.status for answer in worker.commit(writes).result()}
            assert outcomes == {WriteStatus.WRITTEN, WriteStatus.PARKED}


def contents(client: redis.Redis) -> dict[bytes, Any]:
    """Return every key with its value, and see that there is as much as was written."""
    untyped: Any = client
    read: dict[bytes, Callable[[bytes], Any]] = {
        b"hash": untyped.hgetall,
        b"set": untyped.smembers,
        b"string": untyped.get,
        b"zset": lambda key: untyped.zrange(key, 0, -1, withscores=True),
    }
    found = {key: read[untyped.type(key)](key) for key in untyped.scan_iter(count=1000)}
    for project in PROJECTS:
        assert len(found[f"km:{{{project}}}:items".encode()]) >= VOLUMES
        assert found[f"kmsecret:{{{project}}}:parked".encode()]
    return found


def _is_loading(client: redis.Redis) -> bool:
    try:
        client.dbsize()
    except BusyLoadingError:
        return True
    return False
