"""Delegation as operators and nodes use it: a key server, an enrolled client, each by command."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, Final

from tests.kit.outside.wire import said
from tests.kit.outside.worker import Site, Worker, program, working
from tests.kit.polling import until

__all__ = ["CLIENT", "NODE", "Delegation", "P", "attached", "delegating", "detached"]

P: Final = "p1"
NODE: Final = "compute-17"
CLIENT: Final = "client"
"""The client's name: the shipped account's."""
WHO: Final = ("--operator", "alice", "--reason", "drill")
POLICY: Final = '\n[[producer]]\nuser = "producer"\nprojects = "*"\ntypes = "*"\n'
SHIPPED: Final = Path(__file__).resolve().parents[3] / "config" / "policy.toml"


@dataclass(frozen=True, slots=True)
class Delegation:
    """An installation that delegates, and one client of it."""

    site: Site
    host: Path
    """The client's folder."""
    installation: str

    def tell(self, *lines: str) -> None:
        """Have events handled."""
        self.site.run("publish", "--file", "-", stdin="".join(lines))

    def get(
        self, name: str, *, exit_code: int = 0, project: str = P, kind: str = "volume"
    ) -> bytes:
        """Ask as the client for an item's key; return it, or nothing where it is refused."""
        self.asked(name, exit_code=exit_code, project=project, kind=kind)
        key = self.host / "key.bin"
        if exit_code:
            assert not key.exists()
            return b""
        found = key.read_bytes()
        key.unlink()
        return found

    def asked(
        self, name: str, *, exit_code: int | None = 0, project: str = P, kind: str = "volume"
    ) -> "CompletedProcess[str]":
        """Ask as the client, and return what the command said."""
        return self.on_host("client", "get", f"{kind}:{name}", "--project", project, "--output",
                            str(self.host / "key.bin"), exit_code=exit_code)  # fmt: skip

    def on_host(self, *words: str, exit_code: int | None = 0) -> "CompletedProcess[str]":
        """Run a command on the client's host."""
        return self.hosted().run(*words, exit_code=exit_code)

    def hosted(self) -> Site:
        """Return the installation as the client's host sees it."""
        return replace(self.site, settings={**self.site.settings, **_of_host(self.host)})

    def exported(self, name: str) -> bytes:
        """Return the DEK of a volume, as a key operator exports it."""
        item = self.site.reader.records(P, "items")[f"volume:{name}"]
        key_id = item["data"]["key_id"]
        path = self.host / f"exported-{key_id}"
        if not path.exists():
            self.site.run("key", "export", key_id, "--project", P, "--output", str(path))
        return path.read_bytes()

    def attachments(self, name: str) -> dict[str, Any]:
        """Return what the store says of a volume's attachments."""
        found = self.site.reader.records(P, "grants").get(f"volume:{name}", {"attachments": []})
        return {it["id"]: it for it in found["attachments"]}


def attached(volume: str, attachment: str = "a1", node: str = NODE, **data: Any) -> str:
    """The event of an attachment, as a line of a file."""
    fields = {"volume_id": volume, "attachment_id": attachment, "node": node, **data}
    return said("volume-attached", f"on {volume} {attachment}", P, **fields).body.decode() + "\n"


def detached(volume: str, attachment: str = "a1") -> str:
    """The event of its end."""
    fields = {"volume_id": volume, "attachment_id": attachment}
    return said("volume-detached", f"off {volume} {attachment}", P, **fields).body.decode() + "\n"


@contextmanager
def delegating(site: Site, key_servers: int = 1, *options: str) -> Iterator[Delegation]:
    """Run a worker and key servers on a site, with one client enrolled, for `NODE` if not said."""
    policy = site.folder / "policy.toml"
    policy.write_text(SHIPPED.read_text() + POLICY)
    settings = {
        **site.settings,
        "KMWORKER_POLICY__PATH": str(policy),
        "KMWORKER_KEYSERVER__IDENTITY": str(site.folder / "keyserver.json"),
    }
    site = replace(site, settings=settings)
    with working(site):
        installation = json.loads(site.run("trust", "show", "--json").stdout)["installation"]
        trusted(site, installation)
        host = site.folder / "host"
        host.mkdir()
        made = Delegation(site, host, installation)
        enrol(made, *options)
        with serving(site, key_servers):
            yield made


def trusted(site: Site, installation: str) -> None:
    """Make the root key and the key servers', and hand out their list."""
    root = site.folder / "root-key.json"
    site.run("trust", "init", "--root", str(root))
    listed = site.folder / "listed.json"
    listed.write_text(site.run("trust", "key").stdout)
    signed = site.run(
        "trust", "sign", str(listed), "--root", str(root), "--installation", installation
    )
    site.run("trust", "publish", "-", stdin=signed.stdout)


def enrol(made: Delegation, *more: str, name: str = CLIENT) -> None:
    """Make the host a client, answering for `NODE`."""
    request = made.on_host("client", "init").stdout
    options = more or ("--node", NODE, "--project", "*")
    given = made.site.run("client", "enroll", name, "--request", "-", *options, *WHO, stdin=request)
    path = made.host / "given.json"
    path.write_text(given.stdout)
    made.on_host("client", "pin", str(path))


@contextmanager
def serving(site: Site, number: int = 1) -> Iterator[Sequence[Worker]]:
    """Run key servers; they must stop cleanly unless something else has failed before."""
    environment = site.environment("keyserver")
    servers: list[Worker] = []
    try:
        for _ in range(number):
            own = replace(site, settings={**site.settings, **_accounts(environment)})
            servers.append(Worker(own, [*program(), "keyserver"]))
        until(lambda: _are_seen(site, servers), "the key servers are seen")
        yield servers
        for server in servers:
            if server.process.poll() is None:
                server.stop()
    except BaseException as error:
        for server in servers:
            error.add_note(f"{server.log.name}:\n{server.tail()}")
        raise
    finally:
        for server in servers:
            server.kill()


def _accounts(environment: dict[str, str]) -> dict[str, str]:
    names = ("KMWORKER_BROKER__URL", "KMWORKER_STORE__URL")
    return {name: environment[name] for name in names}


def _are_seen(site: Site, servers: Sequence[Worker]) -> bool:
    for server in servers:
        code = server.process.poll()
        assert code is None, f"a key server ended with {code}:\n{server.tail()}"
    seen = site.reader.key_servers()
    return {str(it.process.pid) for it in servers} <= {it.get("pid") for it in seen.values()}


def _of_host(host: Path) -> dict[str, str]:
    return {
        "KMWORKER_CLIENT__IDENTITY": str(host / "identity.json"),
        "KMWORKER_CLIENT__ENROLMENT": str(host / "enrolment.json"),
        "KMWORKER_CLIENT__DEADLINE_S": "40",
    }
