"""A sample collection goes through the queue and gets its keys.

Nothing here is special to a demonstration: the worker is a process of its own, the events
take the way that every producer's take, and what is printed was announced or is in the store.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from kmworker.bootstrap.brokers import Subscription, open_publisher, open_subscriber
from kmworker.cli.demo.delegating import show_delegation, show_trail
from kmworker.cli.frame.keys import keyring_at
from kmworker.cli.frame.program import examples
from kmworker.cli.installation.lineage import Seals, family_tree
from kmworker.cli.terminal.output import console, line, note
from kmworker.crypto import Keyring, KeyringCustody
from kmworker.crypto.hardening import harden_process
from kmworker.domain.message import Original, Outgoing
from kmworker.embedded.sample import SAMPLE, SOURCE, SampleEvent
from kmworker.embedded.supervisor import Supervisor
from kmworker.errors import BrokerUnavailable
from kmworker.settings import BrokerSettings, Settings, StoreSettings
from kmworker.settings.instance import paths_in
from kmworker.store.admission import enter
from kmworker.store.connection import connect
from kmworker.store.inspection import Views
from kmworker.store.names import Names
from kmworker.store.views.lineage import family_of
from kmworker.wire.ids import random_id
from kmworker.wire.properties import CLOUD_EVENT, PERSISTENT
from kmworker.wire.topology import Topology

__all__ = ["EXAMPLES", "demo"]

DEADLINE_S: Final = 30.0
QUIET_S: Final = 0.3
POLL_S: Final = 0.05
WORDS: Final = (
    ("create", "a new key under a new key-id"),
    ("reuse", "the source's key-id: one key for both"),
    ("clone", "the source's key under a key-id of its own; nothing is re-encrypted"),
)
NEXT: Final = """\
next, the same kept running until Ctrl-C:
  {kmworker} up
and in another terminal:
  {kmworker} publish volume-created --project p1 --set volume_id=v1
  {kmworker} show volume:v1
  {kmworker} explain"""

EXAMPLES: Final = examples("kmworker demo")


def demo() -> None:
    """Send a sample collection through the queue and show which keys it gets.

    A server, a keyring, a worker and a key server are started in a scratch folder and removed at
    the end. Nodes are enrolled, and get keys while volumes are attached to them.
    """
    harden_process()
    with TemporaryDirectory(prefix="kmworker-demo-") as folder, _running(Path(folder)) as up:
        url = up.server.url
        broker = BrokerSettings(url=url)
        topology = Topology(broker.namespace)
        assignments = open_subscriber(broker, {topology.assignments: ["#"]})
        dead = open_subscriber(broker, {topology.dead: ["#"]})
        with closing(assignments), closing(dead):
            assignments.open()
            dead.open()
            _send(broker, topology)
            dead_letters = _print_as_they_come(assignments, dead, up.begin_to_delegate)
        store = StoreSettings(url=url)
        views = Views(connect(store), Names(store.prefix))
        custody = KeyringCustody(keyring_at(up.server.keyring_path))
        enter(custody, views)
        _print_lineage(views, Seals(custody))
        _print_rest(views, dead_letters)
        show_delegation(Path(folder), broker, views, custody, partial(_publish, broker, topology))
        show_trail(paths_in(up.server.data_dir)["audit", "directory"])
        line("")
    for text in NEXT.format(kmworker=_called()).splitlines():
        line(text)


@contextmanager
def _running(folder: Path) -> Iterator[Supervisor]:
    environ = {name: value for name, value in os.environ.items() if not _is_setting(name)}
    # The demonstration speaks for itself; what goes wrong is still said.
    environ["KMWORKER_LOG__LEVEL"] = "error"
    # Nobody asks here before it is known what is attached: who is refused is refused at once.
    environ["KMWORKER_KEYSERVER__WAIT_S"] = "0"
    supervisor = Supervisor(
        folder / "data", environ, settings=Settings(), make_keyring=Keyring.generate
    )
    note("starting a server and a worker in a scratch folder")
    try:
        supervisor.start()
        yield supervisor
    finally:
        supervisor.stop()


def _called() -> str:
    """Return what to type for this program: not all who see this have it on their PATH."""
    program = Path(sys.argv[0])
    found = shutil.which("kmworker")
    if found is not None and (program.name != "kmworker" or program.samefile(found)):
        return "kmworker"
    return str(program) if program.name == "kmworker" else "python -m kmworker"


def _is_setting(name: str) -> bool:
    return name.upper().startswith("KMWORKER_") and "TEST" not in name


def _send(broker: BrokerSettings, topology: Topology) -> None:
    """Publish the sample; the first message waits for the worker to declare its queue."""
    messages: list[Outgoing] = []
    for event in SAMPLE:
        messages.append(messages[-1] if event.repeats else _message(event, topology))
    for name, meaning in WORDS:
        line(f"  {name:7} {meaning}")
    line("")
    line(f"publishing {len(messages)} events:")
    for event in SAMPLE:
        line(f"  {event.type:14}  {event.item:23}  {event.says}")
    publisher = open_publisher(broker, "demo")
    with closing(publisher):
        publisher.open()
        deadline = time.monotonic() + DEADLINE_S
        while not all(publisher.publish(messages[:1])):
            if time.monotonic() > deadline:
                raise BrokerUnavailable("the worker did not start")
            time.sleep(POLL_S)
        publisher.publish(messages[1:])
    line("")
    line("assignments as they arrive, with the rule that decided:")


def _message(event: SampleEvent, topology: Topology) -> Outgoing:
    document = {
        "specversion": "1.0",
        "id": random_id(),
        "source": SOURCE,
        "type": event.type,
        "data": event.data,
    }
    body = json.dumps(document).encode() if event.body is None else event.body
    properties = {"content_type": CLOUD_EVENT, "delivery_mode": PERSISTENT}
    return Outgoing(topology.events, event.type, body, properties)


def _publish(
    broker: BrokerSettings, topology: Topology, event_type: str, data: dict[str, Any]
) -> None:
    with closing(open_publisher(broker, "demo")) as publisher:
        publisher.open()
        publisher.publish([_message(SampleEvent(event_type, "", data), topology)])


def _print_as_they_come(
    assignments: Subscription, dead: Subscription, on_first: Callable[[], None]
) -> list[Original]:
    """Print until nothing comes any more; return the dead letters."""
    dead_letters: list[Original] = []
    deadline = time.monotonic() + DEADLINE_S
    quiet_since = time.monotonic()
    seen: set[str] = set()
    while time.monotonic() < deadline:
        arrived = assignments.receive(POLL_S)
        if arrived and not seen:
            on_first()
        for original in arrived:
            announced = json.loads(original.body)
            _tell(announced["data"], again=announced["id"] in seen)
            seen.add(announced["id"])
        dead_letters += dead.receive(0)
        if arrived:
            quiet_since = time.monotonic()
        elif seen and dead_letters and time.monotonic() - quiet_since > QUIET_S:
            return dead_letters
    raise BrokerUnavailable("the sample was not answered in time")


def _tell(data: dict[str, Any], *, again: bool) -> None:
    item = f"{data['item']['kind']}:{data['item']['id']}"
    key_id = "-" if data["key_id"] is None else data["key_id"][:8]
    told = f"  {item:24} {data['disposition']:7} {key_id:8}  {data['rule']}"
    line(f"{told}  (again)" if again else told)
    if data["data_action"] != "none":
        # On a line of its own: beside the rule it would not fit into 80 columns.
        line(f"{'':27}the storage has to {data['data_action']} the data it copies")


def _print_lineage(views: Views, seals: Seals) -> None:
    line("")
    line("lineage by key scope:")
    screen = console()
    for project in sorted(views.projects()):
        scopes = [name for page in views.all_records(project, "scopes") for name, _ in page]
        for scope_id in sorted(scopes):
            title = f"project {project}, scope {scope_id[:8]}"
            tree = family_tree(title, project, family_of(views, project, scope_id), seals)
            screen.print(tree)


def _print_rest(views: Views, dead_letters: Sequence[Original]) -> None:
    line("")
    line("waiting for its source:")
    for project in sorted(views.projects()):
        for page in views.all_records(project, "waiting"):
            for _entry, raw in page:
                waiting = json.loads(raw)
                line(f"  {waiting['item']}  waits for {waiting['source']}")
    line("dead letters:")
    for dead in dead_letters:
        headers = dead.properties["application_headers"]
        line(f"  {headers['x-kmworker-reason']}: {headers['x-kmworker-detail']}")
