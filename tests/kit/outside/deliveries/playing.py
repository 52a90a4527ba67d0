"""Rounds played on a real installation: workers, key servers, clients, and an auditor.

After each round every client asks for whatever there may be, and is to be answered as the model
says; while it goes on, they ask all the time, and what they get is compared, too. Each key is
the one that a key operator exports, and each delivery has its record in the trail.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import count, cycle
from pathlib import Path
from random import Random
from threading import Event, Thread
from typing import Any, Final

from kmworker.delegation.requests import SignedRequest
from kmworker.domain.model import Item as Asked
from kmworker.domain.model import Kind
from tests.kit.outside.asking import Answer, Host, Line, host_of, lined, second_client
from tests.kit.outside.check_keys import exported
from tests.kit.outside.delegating import (
    CLIENT,
    POLICY,
    SHIPPED,
    WHO,
    Delegation,
    enrol,
    serving,
    trusted,
)
from tests.kit.outside.deliveries.drawing import NODES, Drawer
from tests.kit.outside.deliveries.model import DELIVERED, Client, Item, World
from tests.kit.outside.wire import said
from tests.kit.outside.worker import Site, Worker, program, started, working
from tests.kit.polling import none_of, until, until_none

__all__ = ["CLIENTS", "Player", "playing"]

CLIENTS: Final = (
    Client(CLIENT, frozenset({"n1"}), frozenset()),
    Client("dl-two", frozenset({"n2", "n3"}), frozenset({"dl.a", "dl.b"})),
    Client("dl-far", frozenset({"far"}), frozenset()),
    Client("dl-backup", frozenset(), frozenset({"dl.b", "dl.c"}), needs_grant=False),
)
WAIT_S: Final = "0.5"
"""How long a request waits for its grant: what is refused is asked for often here."""
ASKED_OF_EACH: Final = 30
EXPORTED_AT_ONCE: Final = 2
EXPORTED: Final = 6
PAUSE_S: Final = 0.05


@dataclass(slots=True)
class Deliveries:
    """All keys that have come to clients.

    Attributes:
        keys: by project and key-id, each that was ever seen under it.
        requests: for each delivery the request's id, and how often it was delivered.
        of: which key-ids came as an item's, by the item.
    """

    keys: defaultdict[tuple[str, str], set[bytes]] = field(default_factory=lambda: defaultdict(set))
    requests: Counter[str] = field(default_factory=Counter)
    of: defaultdict[Item, set[str]] = field(default_factory=lambda: defaultdict(set))

    def take(self, host: Host, answer: Answer, request: SignedRequest) -> str:
        """Take an answer in, opened as its client opens it; return it in a word."""
        if answer.word != DELIVERED:
            return host.refusal_in(answer, request)
        data = answer.said["data"]
        named = data["item"]
        item = Item(data["project_id"], named["kind"], named["id"])
        self.keys[item.project, data["key_id"]].add(host.key_in(answer, request))
        self.of[item].add(data["key_id"])
        self.requests[request.asked.id] += 1
        return DELIVERED


@dataclass(slots=True)
class Asker:
    """One client, who asks by the wire."""

    client: Client
    host: Host
    line: Line


@dataclass(slots=True)
class Player:
    """An installation, what it was told, and what clients got."""

    made: Delegation
    workers: list[Worker]
    servers: list[Worker]
    askers: Sequence[Asker]
    rng: Random
    world: World
    drawer: Drawer
    got: Deliveries = field(default_factory=Deliveries)
    trails: "count[int]" = field(default_factory=count)
    """Numbers for exported files."""

    @property
    def site(self) -> Site:
        return self.made.site

    # --- a round --------------------------------------------------------------------------

    def play(self, size: int, *, kills: bool = False) -> None:
        """Tell a round, while clients ask; then have all of it be as the model says."""
        lines = [f"{it.body.decode()}\n" for it in self.drawer.draw(size).messages]
        half = len(lines) // 2
        with self._asking_beside():
            self.made.tell(*lines[:half])
            if kills:
                self._kill()
            self.made.tell(*lines[half:])
            until_none(self._unsettled, within_s=120)
        self.examine()

    def change(self) -> None:
        """Have people suspend, resume, compromise; each takes hold before the next is asked."""
        world, rng = self.world, self.rng
        held = [it for it in world.held if world.keys[it] is not None]
        active = [it for it in held if world.state_of(it) == "active"]
        for item in rng.sample(active, min(3, len(active))):
            self._key("suspend", item)
            world.suspended |= world.owners([item])
        for item in [it for it in held if world.keys[it] in world.suspended][:1]:
            if world.state_of(item) == "suspended":
                self._key("resume", item)
                world.suspended -= world.owners([item])
        item = rng.choice([it for it in held if world.state_of(it) == "active"])
        self._key("compromise", item, "--yes")
        owner = world.keys[item]
        assert owner is not None
        world.compromised.add(world.scopes[owner])
        self.examine()

    def revoke(self, client: Client) -> None:
        """Have a client be none any more."""
        self.site.run("client", "revoke", client.name, *WHO)
        self.world.revoked.add(client.name)
        self.examine()

    def _key(self, verb: str, item: Item, *more: str) -> None:
        self.site.run("key", verb, item.ref, "--project", item.project, *WHO, *more)

    def _kill(self) -> None:
        """End a worker and a key server at once, and start others."""
        self.workers[0].kill()
        self.workers[0] = started(self.site)
        self.servers[0].kill()

    # --- what is asked --------------------------------------------------------------------

    def examine(self) -> None:
        """Let each client ask for many items, all that were ever there among them."""
        wrong: list[str] = []
        items = sorted(self.world.lives)
        for asker in self.askers:
            chosen = self.rng.sample(items, min(ASKED_OF_EACH, len(items)))
            chosen += [Item(self.rng.choice(("dl.a", "dl.z")), "volume", "none")]
            wanted = {it: self.world.answer(asker.client, it) for it in chosen}
            wrong += self._wrong(asker, wanted)
        none_of(wrong)
        none_of(self._unlike())

    def _wrong(self, asker: Asker, wanted: Mapping[Item, str]) -> Iterator[str]:
        requests = {item: _request(asker.host, item) for item in wanted}
        answers = asker.line.ask_all(list(requests.values()))
        for answer, (item, word) in zip(answers, wanted.items(), strict=True):
            found = self.got.take(asker.host, answer, requests[item])
            if found != word:
                yield f"{asker.client.name}: {item} is {found}, and should be {word}"

    def _unlike(self) -> Iterator[str]:
        """What was delivered otherwise than another time, or than the model has its sharing."""
        for name, keys in self.got.keys.items():
            if len(keys) != 1:
                yield f"{len(keys)} keys were delivered as {name}"
        families: defaultdict[Item, set[bytes]] = defaultdict(set)
        for item, key_ids in self.got.of.items():
            owner = self.world.keys[item]
            if owner is not None and len(key_ids) == 1 and self.world.lives[item] == 0:
                (key_id,) = key_ids
                families[self.world.scopes[owner]] |= self.got.keys[item.project, key_id]
        for scope, keys in families.items():
            if len(keys) != 1:
                yield f"the family of {scope} has {len(keys)} DEKs"
        all_keys = [next(iter(it)) for it in families.values()]
        if len(set(all_keys)) != len(all_keys):
            yield "two families share a DEK"

    @contextmanager
    def _asking_beside(self) -> Iterator[None]:
        """Ask all the time, on a connection of one's own, for what there is before the round."""
        ends, failed = Event(), list[BaseException]()
        host = self.askers[0].host
        chosen = sorted(self.world.lives)[-ASKED_OF_EACH:]

        def ask() -> None:
            try:
                with lined(host) as line:
                    self._ask_until(ends, host, line, chosen)
            except BaseException as error:  # noqa: BLE001  # it is raised below
                failed.append(error)

        thread = Thread(target=ask)
        thread.start()
        try:
            yield
        finally:
            ends.set()
            thread.join()
        if failed:
            raise failed[0]

    def _ask_until(self, ends: Event, host: Host, line: Line, chosen: Sequence[Item]) -> None:
        for item in cycle(chosen):
            if ends.wait(PAUSE_S):
                return
            request = _request(host, item)
            line.send(request)
            # Where it was lost with its key server it comes again, to another.
            self.got.take(host, line.answer_to(request), request)

    # --- what is in the store ---------------------------------------------------------------

    def _unsettled(self) -> Iterator[str]:
        """What is not yet as the model has it."""
        reader, world = self.site.reader, self.world
        for project in {it.project for it in world.lives}:
            items, grants = reader.records(project, "items"), reader.records(project, "grants")
            for item, generation in world.lives.items():
                if item.project == project:
                    yield from _item_problems(item, generation, item in world.gone, items)
            found = {
                (ref, it["id"]): it
                for ref, record in grants.items()
                for it in record["attachments"]
            }
            for name, it in world.attachments.items():
                if it.volume.project == project:
                    yield from _attachment_problems(it, name in world.over, found)
            for volume, attachment in world.over:
                if volume.project == project and "over" not in found.get(
                    (volume.ref, attachment), {}
                ):
                    yield f"{attachment} of {volume} is not over"

    # --- the end ------------------------------------------------------------------------------

    def check_exports(self) -> None:
        """Compare what was delivered with what a key operator exports."""
        chosen = self.rng.sample(sorted(self.got.keys), min(EXPORTED, len(self.got.keys)))
        with ThreadPoolExecutor(EXPORTED_AT_ONCE) as pool:
            deks = list(pool.map(lambda it: exported(self.site, *it)[0], chosen))
        for name, dek in zip(chosen, deks, strict=True):
            assert self.got.keys[name] == {dek}, f"{name} was delivered otherwise"

    def check_trail(self, *, exactly: bool) -> None:
        """Export the trail: it verifies, and has each delivery, once where nothing was killed."""
        paths: list[Path] = []

        def recorded() -> Counter[str]:
            paths.append(self.site.folder / f"trail-{next(self.trails)}.jsonl")
            self.site.run("audit", "export", "--output", str(paths[-1]))
            return Counter(it["request"] for it in _records_in(paths[-1]))

        wanted = self.got.requests
        until(lambda: recorded() >= wanted, "each delivery is in the trail", within_s=60)
        for place in ([str(paths[-1])], []):
            self.site.run("audit", "verify", *place)
        records = _records_in(paths[-1])
        delivered = Counter(it["request"] for it in records)
        for request, times in self.got.requests.items():
            assert delivered[request] >= times, f"{request} was delivered, and is not recorded"
            assert not exactly or delivered[request] == times, f"{request} has too many records"
        assert {(it["project_id"], it["key_id"]) for it in records} >= self.got.keys.keys()


def _request(host: Host, item: Item) -> SignedRequest:
    named = Asked(item.project, Kind(item.kind), item.name)
    return host.request(project=item.project, item=named)


def _records_in(path: Path) -> list[dict[str, Any]]:
    """Return what an exported trail says of deliveries."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    data = [line["record"]["data"] for line in lines if "record" in line]
    return [it for it in data if it["what"] == DELIVERED]


def _item_problems(
    item: Item, generation: int, is_gone: bool, items: Mapping[str, Any]
) -> Iterator[str]:
    record = items.get(item.ref)
    wanted = "released" if is_gone else "active"
    if record is None or record["state"] != wanted or record.get("generation", 0) != generation:
        yield f"{item} is not {wanted} in life {generation}"


def _attachment_problems(it: Any, is_over: bool, found: Mapping[Any, Any]) -> Iterator[str]:
    record = found.get((it.volume.ref, it.id))
    if record is None or is_over is not ("over" in record):
        yield f"{it} is over: {record and 'over' in record}"
    elif not is_over and record["grant"]["node"] != it.node:
        yield f"{it} is granted to {record['grant']['node']}"


@contextmanager
def playing(site: Site, broker: Any, rng: Random) -> Iterator[Player]:
    """Found an installation with two key servers, an auditor, and all clients enrolled."""
    assert {node for it in CLIENTS for node in it.nodes} & set(NODES)
    policy = site.folder / "policy.toml"
    policy.write_text(SHIPPED.read_text() + POLICY)
    settings = {
        **site.settings,
        "KMWORKER_POLICY__PATH": str(policy),
        "KMWORKER_KEYSERVER__IDENTITY": str(site.folder / "keyserver.json"),
        "KMWORKER_KEYSERVER__WAIT_S": WAIT_S,
    }
    site = replace(site, settings=settings)
    with ExitStack() as stack:
        workers = stack.enter_context(working(site))
        installation = json.loads(site.run("trust", "show", "--json").stdout)["installation"]
        trusted(site, installation)
        made = Delegation(site, site.folder / "host", installation)
        made.host.mkdir()
        stack.enter_context(auditing(site))
        # Key servers wait for a store that is used, longer and longer.
        made.tell(said("volume-created", "first", "first", volume_id="first").body.decode())
        until(lambda: site.reader.table("first", "items"), "a worker has used the store")
        servers = list(stack.enter_context(serving(site, 2)))
        askers = [_asker(stack, made, broker, it) for it in CLIENTS]
        world = World()
        yield Player(made, workers, servers, askers, rng, world, Drawer(rng, world))


def _asker(stack: ExitStack, made: Delegation, broker: Any, client: Client) -> Asker:
    options = [it for node in sorted(client.nodes) for it in ("--node", node)]
    options += [it for name in sorted(client.projects or {"*"}) for it in ("--project", name)]
    if not client.needs_grant:
        options.append("--no-grant")
    if client.name == CLIENT:
        enrol(made, *options)
        host = host_of(made)
    else:
        host = stack.enter_context(second_client(made, broker, client.name, enrol, *options))
    return Asker(client, host, stack.enter_context(lined(host)))


@contextmanager
def auditing(site: Site) -> Iterator[Worker]:
    """Run an auditor, which must end cleanly."""
    site.run("auditor", "--init")
    environment = site.environment("auditor")
    own = {name: environment[name] for name in ("KMWORKER_BROKER__URL",)}
    auditor = Worker(replace(site, settings={**site.settings, **own}), [*program(), "auditor"])
    try:
        yield auditor
        auditor.stop()
    finally:
        auditor.kill()
