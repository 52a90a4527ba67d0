"""A full disk, mounted or only limited, ends a store that must not lose a write."""

from contextlib import closing
from pathlib import Path

import pytest
import redis

from tests.chaos.disk import LimitedFiles, MountedDisk, disk_at
from tests.kit.polling import until
from tests.kit.servers import StoreServer, redis_store

VALUE = b"x" * 4096


@pytest.mark.parametrize("kind", [MountedDisk, LimitedFiles])
def test_a_full_disk_ends_a_store_and_what_it_confirmed_is_there_afterwards(
    tmp_path: Path, kind: type
) -> None:
    with (
        disk_at(tmp_path, mounted=kind is MountedDisk) as disk,
        closing(redis_store(tmp_path)) as store,
    ):
        assert type(disk) is kind
        store.start()
        disk.fill(store)
        confirmed = _written_until_it_ends(store)
        until(lambda: not store.running, "the store ends")
        assert "Exiting" in store.log_path.read_text()
        disk.relieve()
        store.start()
        with store.admin() as client:
            assert client.dbsize() in {confirmed, confirmed + 1}


def _written_until_it_ends(store: StoreServer) -> int:
    """Write as long as it goes well; return how many writes were confirmed."""
    number = 0
    with store.admin() as client:
        try:
            while True:
                client.set(f"k{number}", VALUE)
                number += 1
        except redis.RedisError:
            return number
