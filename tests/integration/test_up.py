"""`kmworker up`: everything in one folder, whatever happens to its processes."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from kmworker.bootstrap.brokers import Subscription, open_publisher, open_subscriber
from kmworker.client.copies import GivenUp
from kmworker.client.keys import Keys
from kmworker.domain.message import Outgoing
from kmworker.domain.model import Item, Kind
from kmworker.embedded.asker import StreamAsker
from kmworker.errors import BrokerUnavailable, StoreUnavailable
from kmworker.settings import BrokerSettings, StoreSettings
from kmworker.settings.instance import running_instance
from kmworker.store.client import connect_to
from kmworker.store.connection import connect
from kmworker.store.inspection import Views
from kmworker.store.names import Names
from kmworker.wire.topology import Topology

KILLS = 25
DEADLINE_S = 60.0
EVENTS_PER_KILL = 12
# Long enough for a grant that is on its way, and not for the whole of a request's life.
SOON_REFUSED = {"KMWORKER_KEYSERVER__WAIT_S": "6"}


class Up:
    """One user's `kmworker up`."""

    def __init__(self, folder: Path) -> None:
        self.data_dir = folder / "data"
        self.log = folder / "up.log"
        runtime = folder / "run"
        runtime.mkdir(exist_ok=True)
        self.environ = {**os.environ, "XDG_RUNTIME_DIR": str(runtime), "HOME": str(folder)}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = self.begun("up", "--data-dir", str(self.data_dir), stderr=log)
        assert until(self.url), self.log.read_text()

    def begun(self, *arguments: str, **options: Any) -> "subprocess.Popen[bytes]":
        """Start a command of this user's."""
        command = [sys.executable, "-m", "kmworker", *arguments]
        return subprocess.Popen(command, env=self.environ, cwd=self.data_dir.parent, **options)

    def run(self, *arguments: str, stdin: bytes = b"") -> tuple[int, bytes, str]:
        """Run a command of this user's; return its exit code, its output and what it says."""
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        with self.begun(*arguments, **pipes) as command:
            out, err = command.communicate(stdin, DEADLINE_S)
        return command.returncode, out, err.decode()

    def url(self) -> str:
        """Return its URL while it runs."""
        assert self.process is not None
        instance = running_instance(self.environ)
        if self.process.poll() is not None or instance is None:
            return ""
        return instance.url if instance.pid == self.process.pid else ""

    def end(self, number: signal.Signals) -> int:
        assert self.process is not None
        with suppress(ProcessLookupError):
            self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)

    def children(self) -> list[int]:
        assert self.process is not None
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in listed.read_text().split()]


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    it = Up(tmp_path)
    yield it
    if it.process is not None and it.process.poll() is None:
        it.end(signal.SIGTERM)


def until(condition: Callable[[], object], within_s: float = DEADLINE_S) -> bool:
    """Wait for a condition."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def event(number: int, padding: int = 0) -> Outgoing:
    """Return the event number so and so: a volume, its snapshot, a volume from that."""
    volume, kind = divmod(number, 3)
    data: dict[str, object] = {"project_id": f"p{volume % 3}"}
    if kind == 1:
        data |= {"snapshot_id": f"s{volume}", "volume_id": f"v{volume}"}
    else:
        data |= {"volume_id": f"{'v' if kind == 0 else 'c'}{volume}"}
    if kind == 2:
        data["source"] = {"kind": "snapshot", "id": f"s{volume}"}
    event_type = "snapshot-taken" if kind == 1 else "volume-created"
    body = {
        "specversion": "1.0", "id": f"e{number}", "source": "/test", "type": event_type,
        # An attribute that nobody knows is nobody's business, and takes up room all the same.
        "padding": "x" * padding, "data": data,
    }  # fmt: skip
    properties = {"content_type": "application/json", "delivery_mode": 2}
    return Outgoing(Topology("kmworker").events, event_type, json.dumps(body).encode(), properties)


def publish(url: str, events: list[Outgoing]) -> bool:
    """Publish as a producer does; say whether the broker has them all."""
    publisher = open_publisher(BrokerSettings(url=url), "test")
    with closing(publisher):
        try:
            publisher.open()
            return all(publisher.publish(events))
        except BrokerUnavailable:
            return False


def records(url: str) -> dict[tuple[str, str], dict[str, object]]:
    """Return the data of every item."""
    views = Views(connect(StoreSettings(url=url)), Names("km"))
    found = {}
    for project in views.projects():
        for page in views.all_records(project, "items"):
            for ref, raw in page:
                found[project, ref] = json.loads(raw)["data"]
    return found


def announced(subscriber: Subscription, seen: dict[str, bytes]) -> None:
    """Collect announcements; the same id must always have the same bytes."""
    with suppress(BrokerUnavailable):
        for original in subscriber.receive(0.01):
            message_id = original.properties["message_id"]
            assert seen.setdefault(message_id, original.body) == original.body


def test_nothing_is_lost_when_its_processes_are_killed_at_random_under_load(up: Up) -> None:
    seed = int(os.environ.get("KMWORKER_TEST_SEED", "20261123"))
    draw = random.Random(seed)
    sent = 0
    seen: dict[str, bytes] = {}
    up.start()
    subscriber = open_subscriber(
        BrokerSettings(url=up.url()), {Topology("kmworker").assignments: ["#"]}
    )
    assert until(lambda: publish(up.url(), [event(0)]))
    subscriber.open()
    for _kill in range(KILLS):
        batch = [event(sent + number) for number in range(EVENTS_PER_KILL)]
        # The same events again, as a producer does that got no confirm.
        assert until(partial(_published, up, batch)), f"seed {seed}"
        sent += EVENTS_PER_KILL
        announced(subscriber, seen)
        time.sleep(draw.random() * 0.3)
        for pid in draw.choice([[], up.children(), up.children()[:1], up.children()[-1:]]):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        up.end(signal.SIGKILL)
        up.start()

    wanted = {
        (data["project_id"], ref(data))
        for data in (json.loads(event(number).body)["data"] for number in range(sent))
    }
    assert until(lambda: _settled(up, wanted)), f"seed {seed}: {wanted - records(up.url()).keys()}"
    assert until(partial(_all_announced, up, subscriber, seen)), f"seed {seed}"
    assert up.end(signal.SIGTERM) == 0


def ref(data: dict[str, str]) -> str:
    """Return the item ref of an event's item."""
    if "snapshot_id" in data:
        return f"snapshot:{data['snapshot_id']}"
    return f"volume:{data['volume_id']}"


def _settled(up: Up, wanted: set[tuple[str, str]]) -> bool:
    """Return whether exactly these items have a record, and each key-id its own scope's key."""
    try:
        found = records(up.url())
    except StoreUnavailable:
        return False
    assert found.keys() <= wanted
    return found.keys() == wanted


def _published(up: Up, events: list[Outgoing]) -> bool:
    return publish(up.url(), events)


def _all_announced(up: Up, subscriber: Subscription, seen: dict[str, bytes]) -> bool:
    """Return whether each record's key-id was announced, and no other key-id for its item."""
    announced(subscriber, seen)
    told: dict[tuple[str, str], set[str]] = {}
    for body in seen.values():
        data = json.loads(body)["data"]
        item = data["project_id"], f"{data['item']['kind']}:{data['item']['id']}"
        told.setdefault(item, set()).add(data["key_id"])
    return told == {item: {data["key_id"]} for item, data in records(up.url()).items()}


def test_other_commands_find_it_and_say_so(up: Up) -> None:
    up.start()
    assert until(lambda: publish(up.url(), [event(0)]))
    assert until(lambda: records(up.url()))
    code, out, err = up.run("show", "volume:v0", "--json")
    assert (code, json.loads(out)["project"]) == (0, "p0")
    assert f"using kmworker up in {up.data_dir}" in err


def test_a_program_that_needs_amqp_is_told_at_once_what_to_use_here(up: Up) -> None:
    up.start()
    program = Path(__file__).parents[2] / "docs" / "examples" / "produce_client.py"
    environ = {
        **up.environ,
        "BROKER_URL": "amqp://127.0.0.1:1/%2F",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    said = up.data_dir / "said"
    with said.open("wb") as log:
        command = [sys.executable, str(program), "p1", "v1"]
        producer = subprocess.Popen(command, env=environ, stderr=log)
    try:
        # Long before its patience of a minute is over.
        assert until(lambda: "kmworker up runs here, but it has no AMQP" in said.read_text(), 30)
        assert producer.poll() is None
    finally:
        producer.kill()
        producer.wait()


def test_programs_talk_to_it_through_pipes(up: Up) -> None:
    up.start()
    pipes = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
    lines = [
        {**json.loads(event(number).body), "data": {"project_id": "p", "volume_id": f"v{number}"}}
        for number in (0, 3)
    ]
    stdin = "".join(f"{json.dumps(line)}\n" for line in lines).encode()
    with up.begun("watch", "--json", "--count", "2", **pipes) as listener:
        try:
            assert listener.stderr is not None
            assert any(b"listening" in line for line in listener.stderr)
            assert up.run("publish", "--file", "-", stdin=stdin)[0] == 0
            out, _ = listener.communicate(timeout=DEADLINE_S)
        finally:
            listener.kill()
    heard = [json.loads(line)["data"]["item"]["id"] for line in out.splitlines()]
    assert sorted(heard) == ["v0", "v3"]


def delegate(up: Up) -> None:
    """Attach a volume to a host that asks before, and again when it is detached."""
    enroll(up)
    # Asked before it is attached: it waits for that.
    with up.begun(*get(up), stderr=subprocess.PIPE) as asking:
        told(up, "attached", node="n1")
        said = asking.communicate(timeout=DEADLINE_S)[1]
    assert asking.returncode == 0, said
    key = up.data_dir.parent / "key.bin"
    assert len(key.read_bytes()) == 64
    told(up, "detached")
    key.unlink()
    code, _out, err = up.run(*get(up))
    assert (code, "not-granted" in err, key.exists()) == (1, True, False), err


def enroll(up: Up) -> None:
    """Make this host a client, which answers for the node n1."""
    code, request, err = up.run("client", "init")
    assert code == 0, err
    enrolled = up.run(
        "client", "enroll", "host", "--request", "-", "--node", "n1", "--project", "p0",
        "--operator", "alice", "--reason", "drill", stdin=request,
    )  # fmt: skip
    assert enrolled[0] == 0, enrolled
    assert up.run("client", "pin", "-", stdin=enrolled[1])[0] == 0


def get(up: Up) -> tuple[str, ...]:
    """Return the command that gets the key of the first event's volume."""
    output = str(up.data_dir.parent / "key.bin")
    return "client", "get", "volume:v0", "--project", "p0", "--output", output


def got(up: Up) -> bytes:
    """Get the key."""
    code, _out, err = up.run(*get(up))
    assert code == 0, err
    key = up.data_dir.parent / "key.bin"
    found = key.read_bytes()
    key.unlink()
    return found


def told(up: Up, what: str, **more: str) -> None:
    """Publish that the volume is attached, or is no more."""
    words = {"volume_id": "v0", "attachment_id": "a1", **more}
    named = [it for name, text in words.items() for it in ("--set", f"{name}={text}")]
    assert up.run("publish", f"volume-{what}", "--project", "p0", *named)[0] == 0


def test_a_node_gets_the_key_of_what_is_attached_to_it_and_the_trail_says_so(up: Up) -> None:
    up.environ |= SOON_REFUSED
    up.start()
    assert until(lambda: publish(up.url(), [event(0)]))
    assert until(lambda: records(up.url()))
    delegate(up)
    (record,) = records(up.url()).values()
    exported = str(up.data_dir.parent / "exported.bin")
    words = ("key", "export", str(record["key_id"]), "--project", "p0", "--output", exported)
    assert up.run(*words)[0] == 0
    wanted = {
        "trust-list-published", "client-enrolled", "grant-made", "key-delivered", "grant-ended",
        "key-refused", "key-exported",
    }  # fmt: skip
    # The key server's own are there before it answers, all others' soon.
    assert until(lambda: sorted(recorded(up)) == sorted(wanted)), recorded(up)
    assert up.end(signal.SIGTERM) == 0
    # It needs no server, and ended signed.
    code, out, err = up.run("audit", "verify", str(up.data_dir / "audit"))
    assert (code, b"up to line 8" in out) == (0, True), (out, err)


def recorded(up: Up) -> list[str]:
    """Return what the trail says was done, in its order."""
    code, out, err = up.run("audit", "tail", "--lines", "1000")
    assert code == 0, err
    return [line.split()[1] for line in out.decode().splitlines()]


def test_a_key_server_that_is_killed_comes_back_and_its_trail_is_whole(up: Up) -> None:
    up.start()
    assert until(lambda: publish(up.url(), [event(0)]))
    assert until(lambda: records(up.url()))
    enroll(up)
    told(up, "attached", node="n1")
    before = got(up)
    (key_server,) = [
        it for it in up.children() if b"keyserver" in Path(f"/proc/{it}/cmdline").read_bytes()
    ]
    os.kill(key_server, signal.SIGKILL)
    assert got(up) == before
    up.end(signal.SIGKILL)
    up.start()
    assert got(up) == before
    acts = recorded(up)
    assert up.end(signal.SIGTERM) == 0
    code, out, err = up.run("audit", "verify", str(up.data_dir / "audit"), "--json")
    found = json.loads(out)
    assert (code, found["missing"]) == (0, []), err
    assert acts.count("key-delivered") == 3
    # A worker that is killed may record what it has recorded before.
    assert set(acts) == {
        "trust-list-published", "client-enrolled", "grant-made", "key-delivered",
    }  # fmt: skip


def test_a_copy_is_given_up_when_it_is_detached_while_the_key_server_is_away(up: Up) -> None:
    up.start()
    assert until(lambda: publish(up.url(), [event(0)]))
    assert until(lambda: records(up.url()))
    enroll(up)
    told(up, "attached", node="n1")
    given_up: Queue[GivenUp] = Queue()
    folder, url = up.data_dir.parent, up.url()
    keys = Keys(
        "amqp://none.invalid", identity=folder / "identity.json",
        enrolment=folder / "enrolment.json", keep=True, on_given_up=given_up.put,
        inquire=lambda _name, own: StreamAsker(connect_to(url, 5.0), "kmworker", own),
    )  # fmt: skip
    with keys:
        for _ in range(2):
            with keys.get(Item("p0", Kind.VOLUME, "v0")) as delivered:
                assert len(delivered.key.view) == 64
        (key_server,) = [
            it for it in up.children() if b"keyserver" in Path(f"/proc/{it}/cmdline").read_bytes()
        ]
        os.kill(key_server, signal.SIGKILL)
        told(up, "detached")
        assert given_up.get(timeout=DEADLINE_S).cause.value == "detached"
    # Once: the second time it was there.
    recorded = [line.split()[1] for line in up.run("audit", "tail")[1].decode().splitlines()]
    assert recorded.count("key-delivered") == 1


def test_data_from_before_there_was_delegation_is_taken_up(up: Up) -> None:
    up.environ |= SOON_REFUSED
    up.start()
    assert until(lambda: publish(up.url(), [event(0)]))
    identity = up.data_dir / "keyserver.json"
    assert until(lambda: records(up.url()))
    assert until(lambda: trusted(up))
    views = Views(connect(StoreSettings(url=up.url())), Names("km"))
    views.client.delete(views.names.top("trust"))
    assert up.end(signal.SIGTERM) == 0
    for name in ("keyserver.json", "root-key.json", "audit-key.json"):
        (up.data_dir / name).unlink()
    up.start()
    assert until(lambda: trusted(up))
    assert identity.exists()
    delegate(up)


def trusted(up: Up) -> bool:
    """Return whether a trust list is handed out."""
    return b"not after" in up.run("trust", "show")[1]


def test_a_second_one_on_the_folder_is_refused_at_once(up: Up) -> None:
    up.start()
    code, _out, err = up.run("up", "--data-dir", str(up.data_dir))
    assert (code, f"another kmworker uses {up.data_dir}" in err) == (2, True), err
    assert publish(up.url(), [event(0)]) or until(lambda: publish(up.url(), [event(0)]))


def test_data_without_its_keyring_is_refused(up: Up) -> None:
    up.start()
    assert up.end(signal.SIGTERM) == 0
    (up.data_dir / "keyring.json").unlink()
    code, _out, err = up.run("up", "--data-dir", str(up.data_dir))
    assert (code, "its keyring is missing" in err) == (2, True), err
    assert not (up.data_dir / "keyring.json").exists()


def test_a_full_disk_is_said_and_nothing_accepted_is_lost(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)]
    subprocess.run(mount, check=True)
    up = Up(tmp_path)
    up.data_dir = disk / "data"
    try:
        up.start()
        sent = 0
        while (url := up.url()) and sent < 30_000:
            if publish(url, [event(sent + number, padding=20_000) for number in range(30)]):
                sent += 30
        assert up.process is not None
        assert up.process.wait(DEADLINE_S) == 2
        assert "free space" in up.log.read_text()
        subprocess.run(["mount", "-o", "remount,size=400m", str(disk)], check=True)
        up.start()
        assert until(lambda: len(records(up.url())) >= sent)
        assert up.end(signal.SIGTERM) == 0
    finally:
        if up.process is not None and up.process.poll() is None:
            up.end(signal.SIGKILL)
        shutil.rmtree(up.data_dir, ignore_errors=True)
        until(lambda: subprocess.run(["umount", str(disk)], check=False).returncode == 0)
