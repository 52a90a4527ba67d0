"""Installations that look the same in every run, for transcripts to be recorded in."""

import json
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from time import time
from typing import Any, Final
from uuid import uuid4

from kmworker.crypto import Keyring
from tests.kit.outside.worker import Site, working
from tests.kit.polling import until
from tests.kit.servers import At, RabbitMQ, StoreServer
from tests.kit.trails import lay_trail

DAY_S: Final = 86_400
AGO_S: Final = 3 * DAY_S + 60
WORKER: Final = "blk01-4242-53c563"
BROKER_GONE: Final = At("amqp://guest:guest@127.0.0.1:1/")
STORE_GONE: Final = At("redis://127.0.0.1:1")


def _event(event_type: str, **data: object) -> str:
    event = {
        "specversion": "1.0",
        "id": f"{event_type}/{next(iter(data.values()))}",
        "source": "/test",
        "type": event_type,
        "data": {"project_id": "p1", **data},
    }
    return json.dumps(event) + "\n"


def _of(kind: str, name: str) -> dict[str, str]:
    return {"kind": kind, "id": name}


FAMILY: Final = "".join((
    _event("volume-created", volume_id="v1", size_bytes=10_737_418_240),
    _event("snapshot-taken", snapshot_id="s1", volume_id="v1"),
    _event("volume-created", volume_id="v2", source=_of("snapshot", "s1")),
    _event("volume-created", volume_id="v3", source=_of("volume", "v1"), disposition="create"),
    _event("snapshot-taken", snapshot_id="s9", volume_id="v9"),
))  # fmt: skip


class Stage:
    """Makes installations and removes them at the end.

    Servers are shared, names are not. A folder has a name of one length, so that lines break
    where they broke when the transcript was recorded.
    """

    def __init__(self, broker: RabbitMQ, store: StoreServer) -> None:
        self._servers = broker, store
        self._made: dict[str, Site] = {}
        self._stack = ExitStack()

    def close(self) -> None:
        self._stack.close()

    def site(self, wanted: set[str]) -> Site:
        """Return an installation under these circumstances.

        ``filled`` (by a worker that has stopped; shared), ``own`` (the same for one
        transcript), ``fresh`` (a keyring, and no worker yet), ``declared`` (the same, and an
        administrator has brought the names to the broker), ``nothing configured``;
        ``broker gone``, ``store gone``.
        """
        makers: dict[str, Callable[[], Site]] = {
            "filled": self._filled, "own": self._filled,
            "fresh": self._fresh, "declared": self._declared, "nothing configured": self._bare,
        }  # fmt: skip
        (kind,) = wanted & set(makers) or {"filled"}
        if kind not in self._made:
            self._made[kind] = makers[kind]()
        site = self._made[kind]
        if "broker gone" in wanted:
            site = replace(site, broker=BROKER_GONE)
        return replace(site, store=STORE_GONE) if "store gone" in wanted else site

    def next_transcript(self) -> None:
        """Forget what one transcript may have changed."""
        self._made = {kind: site for kind, site in self._made.items() if kind == "filled"}

    def _bare(self) -> Site:
        folder = Path(tempfile.mkdtemp(prefix="km", dir="/tmp"))  # short on purpose
        self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
        name = f"t{uuid4().hex[:7]}"
        broker, store = self._servers
        settings = {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
        settings["KMWORKER_KEYRING__PATH"] = "keyring.json"
        site = Site(folder, broker, store, name, name, settings=settings)
        (folder / "inventory.txt").write_text("p1 volume:v1\np1 snapshot:s1\np1 volume:v8\n")
        (folder / "event.json").write_text(FAMILY.splitlines()[2])
        lay_trail(folder / "trail")
        (folder / "wrong.jsonl").write_text(FAMILY.splitlines()[0] + '\n{"specversion": "1.0"}\n')
        return site

    def _fresh(self) -> Site:
        site = self._bare()
        broker, _store = self._servers
        broker.define(site.namespace, names=False)
        Keyring.generate(site.folder / "keyring.json")
        for server in self._servers:
            self._stack.callback(server.forget, site.namespace)
        return site

    def _declared(self) -> Site:
        site = self._fresh()
        broker, _store = self._servers
        broker.define(site.namespace)
        return site

    def _filled(self) -> Site:
        site = self._declared()
        with working(site):
            site.run("publish", "--file", "-", stdin=FAMILY)
            site.run("publish", "--no-check", "--file", "-", stdin="{}\n")
            until(lambda: len(site.reader.records("p1", "items")) == 4, "all are assigned")
            until(lambda: site.reader.records("p1", "waiting"), "one waits")
            until(lambda: site.reader.fields("dead") == {"malformed": "1"}, "one is dead")
        # A broker may pass over acknowledgements that came just before the end, and notices at
        # some time after it that their events are to be delivered again.
        broker, _store = self._servers
        with broker.admin(site.namespace) as connection:
            connection.channel().queue_delete(f"{site.namespace}.events.work")
        broker.define(site.namespace)
        _settle(site)
        return site


def _settle(site: Site) -> None:
    """Put long ago what the worker saw last: an age in seconds is another in each run."""
    store, then, prefix = site.reader.admin, time() - AGO_S, site.prefix
    (worker,) = site.reader.workers()
    store.delete(f"{prefix}:workers", f"{prefix}:minutes")
    store.zadd(f"{prefix}:workers", {WORKER: then})
    store.rename(f"{prefix}:worker:{worker}", f"{prefix}:worker:{WORKER}")
    seen: dict[Any, Any] = {
        "host": "blk01",
        "pid": "4242",
        "incarnation": "",
        "clock_ahead_s": "-0.0",
        "started": str(then),
        "last_batch": str(then),
    }
    store.hset(f"{prefix}:worker:{WORKER}", mapping=seen)
    counts: dict[Any, Any] = {
        "items": 4,
        "keys": 3,
        "scopes": 2,
        "waiting": 1,
        "create": 2,
        "clone": 1,
        "reuse": 1,
    }
    store.hset(f"{prefix}:totals", mapping={**counts, "none": 0, "computed_at": then})
    (kek_id,) = site.reader.fields("keyring")["kek_ids"].split()
    under: dict[Any, Any] = {"records": 10, "deks": 2, "projects": 1, "wraps": 2048}
    keks: dict[Any, Any] = {f"{what}:{kek_id}": number for what, number in under.items()}
    store.hset(f"{prefix}:totals", mapping={**keks, "keks_counted_at": then})
    queues: dict[Any, Any] = {"work": 0, "dead": 1, "consumers": 1, "seen_at": then}
    store.hset(f"{prefix}:queues", mapping=queues)
