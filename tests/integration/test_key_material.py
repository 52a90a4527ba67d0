"""No DEK is ever seen outside the custody, whatever a run leaves behind."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmworker.crypto import Keyring, KeyringCustody
from kmworker.store.records import RecordCodec
from tests.integration.test_crash_at_each_step import (
    PROJECT,
    WANTED,
    history,
    is_at_rest,
    working,
)
from tests.kit.outside.client import Client
from tests.kit.outside.worker import Site
from tests.kit.polling import until
from tests.kit.servers import RabbitMQ, Start, StoreServer


@pytest.fixture
def store(start_redis: Start[StoreServer]) -> StoreServer:
    return start_redis()


@pytest.fixture
def site(
    tmp_path: Path, rabbitmq: RabbitMQ, store: StoreServer, namespace: str, prefix: str
) -> Site:
    settings = {"KMWORKER_LOG__LEVEL": "debug"}
    site = Site(tmp_path, rabbitmq, store, namespace, prefix, settings=settings)
    site.lay_keyring()
    return site


def deks(site: Site) -> list[bytes]:
    """Unwrap every DEK there is."""
    installation = site.reader.fields("layout")["installation"]
    custody = KeyringCustody(Keyring.load(site.keyring), installation)
    codec = RecordCodec(custody)
    blobs = site.reader.secret(PROJECT, "deks")
    scopes = site.reader.table(PROJECT, "scopes")
    return [
        custody.unwrap(
            PROJECT, codec.read_scope(PROJECT, scope_id, scopes[scope_id].encode()), blob
        )
        for scope_id, blob in blobs.items()
    ]


def spellings(dek: bytes) -> Iterator[bytes]:
    """Give the ways in which bytes are usually written; base64 at each of its three offsets."""
    yield dek
    yield dek.hex().encode()
    yield dek.hex().upper().encode()
    for offset in range(3):
        # The first and last characters depend on the neighbours; the rest does not.
        coded = base64.b64encode(b"\0" * offset + dek)[4:-4]
        yield coded
        yield coded.replace(b"+", b"-").replace(b"/", b"_")


def left_behind(site: Site, store: StoreServer, client: Client) -> dict[str, bytes]:
    """Collect all that a run leaves behind, by where it is."""
    found = dict(site.reader.everything("*"))
    for path in (store.folder / "appendonlydir").iterdir():
        found[path.name] = path.read_bytes()
    for number, delivery in enumerate([*client.assignments, *client.letters]):
        found[f"message {number}"] = delivery.body + repr(vars(delivery.properties)).encode()
    found.update(site.logs())
    return found


def shown(dek: bytes, places: dict[str, bytes]) -> list[str]:
    """Say where a DEK can be read."""
    return [name for name, content in places.items() if any(s in content for s in spellings(dek))]


def test_no_dek_is_in_anything_that_a_run_leaves_behind(site: Site, store: StoreServer) -> None:
    with working(site), site.client() as client:
        for message in history():
            client.publish(message)
        until(lambda: is_at_rest(client, site), "the history is at rest")
        places = left_behind(site, store, client)
    minted = deks(site)
    assert len(minted) == list(WANTED.values()).count("create")
    assert any("appendonly" in name for name in places)
    assert any(name.endswith(".log") for name in places)
    assert [shown(dek, places) for dek in minted] == [[]] * len(minted)


@pytest.mark.parametrize("spelling", range(9))
def test_the_search_finds_a_dek_that_is_there(spelling: int) -> None:
    dek = bytes(range(7, 71))
    ways = [dek, dek.hex().encode(), dek.hex().upper().encode()]
    for offset in range(3):
        ways.append(base64.b64encode(b"ab"[:offset] + dek + b"tail"))
        ways.append(base64.urlsafe_b64encode(b"ab"[:offset] + dek + b"tail"))
    assert shown(dek, {"somewhere": b"before" + ways[spelling] + b"after"}) == ["somewhere"]


def test_a_second_keyring_on_the_same_store_is_refused(site: Site) -> None:
    with working(site):
        pass
    site.keyring.rename(site.folder / "first")
    site.run("keyring", "init")
    refused = site.run("worker", exit_code=2)
    assert "which this keyring lacks" in refused.stdout + refused.stderr
