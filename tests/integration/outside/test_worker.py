"""What a worker refuses, and that it ends when it is told to, by the contract's exit codes.

Commands are tried in tests/unit/cli, and on servers in tests/integration/cli and
tests/integration/privilege, with the accounts of those who run them.
"""

import socket
from contextlib import closing
from dataclasses import replace

from tests.integration.outside.conftest import NewSite, StartStore
from tests.integration.outside.test_stories import born
from tests.kit.outside.stage import performed
from tests.kit.outside.wire import plain
from tests.kit.outside.words import Item
from tests.kit.outside.worker import Site, Worker, working
from tests.kit.polling import until
from tests.kit.servers import At


def refused(site: Site) -> None:
    """Start a worker that must refuse to work."""
    worker = Worker(site)
    try:
        assert worker.ended() == 2, worker.tail()
    finally:
        worker.kill()


def test_a_record_that_was_tampered_with_is_not_announced(new_site: NewSite, project: str) -> None:
    site = new_site()
    volume, stranger = (born(Item(project, "volume", name)) for name in ("v", "stranger"))
    clone = born(Item(project, "volume", "w"), volume.item)
    with working(site), performed(site, [volume, clone, stranger]) as played:
        items = f"{site.prefix}:{{{project}}}:items"
        record = played.reader.table(project, "items")[stranger.item.ref]
        own, other = (played.announced[item.item]["key_id"] for item in (stranger, clone))
        played.reader.admin.hset(items, stranger.item.ref, record.replace(own, other))
        # Whoever asks for it is not told the other volume's key, either.
        played.client.publish(plain(replace(stranger, event_id="again")))
        played.client.publish(plain(volume))
        heard = played.client
        until(lambda: heard.letters, "someone is woken", between=heard.pump)
        assert heard.letters[0].headers["x-kmworker-reason"] == "integrity"


def test_a_store_that_could_lose_keys_is_refused_unless_that_is_allowed(
    new_site: NewSite, start_redis: StartStore
) -> None:
    site = replace(new_site(), store=start_redis({"appendonly": "no"}))
    refused(site)
    with working(replace(site, settings={"KMWORKER_STORE__ALLOW_VOLATILE": "true"})):
        pass


def test_a_worker_without_its_keyring_does_not_start(new_site: NewSite) -> None:
    refused(replace(new_site(), settings={"KMWORKER_KEYRING__PATH": "nowhere"}))


def test_a_worker_waits_for_its_broker_and_can_be_stopped_meanwhile(new_site: NewSite) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as deaf:
        port = deaf.getsockname()[1]
        worker = Worker(replace(new_site(), broker=At(f"amqp://worker:word@127.0.0.1:{port}/")))
        try:
            # It comes, is turned away, and comes again.
            for _ in range(2):
                deaf.settimeout(60)
                deaf.accept()[0].close()
            worker.stop()
        finally:
            worker.kill()
