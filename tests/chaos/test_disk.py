"""A full disk ends a store that must not lose a write."""

from contextlib import closing
from pathlib import Path

import redis

from tests.chaos.disk import fill_disk
from tests.kit.polling import until
from tests.kit.servers import StoreServer, redis_store

VALUE = b"x" * 4096


def test_a_full_disk_ends_a_store_and_what_it_confirmed_is_there_afterwards(
    tmp_path: Path,
) -> None:
    with closing(redis_store(tmp_path)) as store:
        store.start()
        fill_disk(store)
        confirmed = _written_until_it_ends(store)
        until(lambda: not store.running, "the store ends")
        assert "Exiting" in store.log_path.read_text()
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
