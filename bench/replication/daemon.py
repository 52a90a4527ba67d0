"""A real rsync daemon, and what goes to it."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.kit.polling import until
from tests.kit.servers.locate import rsync
from tests.kit.servers.ports import free_port, is_listening

__all__ = ["Moved", "Receiver", "daemon"]

OLD_S: Final = 1_000
"""When the replica was written; what it is to become is younger, so rsync looks at its content."""
CONFIG: Final = """\
use chroot = no
uid = {uid}
gid = {gid}
address = 127.0.0.1
port = {port}
log file = {folder}/log
pid file = {folder}/pid
lock file = {folder}/lock
[replicas]
path = {folder}/replicas
read only = no
"""


@dataclass(frozen=True, slots=True)
class Moved:
    """Bytes, as rsync counts them."""

    literal: int
    """Of the file: what the replica did not have."""
    wire: int
    """On the connection, both ways: checksums and what rsync says beside."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """The daemon that has the replicas."""

    folder: Path
    port: int

    def replica(self, name: str) -> Path:
        """Return where a replica lies."""
        return self.folder / "replicas" / name

    def put(self, name: str, content: bytes) -> None:
        """Let it have a replica already."""
        path = self.replica(name)
        path.write_bytes(content)
        self.age(name)

    def age(self, name: str) -> None:
        """Let a replica be an old one."""
        os.utime(self.replica(name), (OLD_S, OLD_S))

    def touch(self, source: Path) -> Path:
        """Let the replica be something else than the source, and older."""
        self.put(source.name, bytes(source.stat().st_size))
        return source

    def update(self, source: Path, *options: str) -> Moved:
        """Bring the replica of that name up to date, and see that it is."""
        moved_ = self.sent(source, *options)
        assert self.replica(source.name).read_bytes() == source.read_bytes()
        return moved_

    def sent(self, source: Path, *options: str) -> Moved:
        """Have rsync do what it does with these options."""
        url = f"rsync://127.0.0.1:{self.port}/replicas/{source.name}"
        done = subprocess.run(
            [rsync(), "--times", "--stats", "--no-human-readable",
             # Else it is drawn; by one in hundreds a block passes for another: all is sent twice.
             "--checksum-seed=1", *options, source, url],
            capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
        return moved(done.stdout)


def moved(stats: str) -> Moved:
    """Read what ``rsync --stats`` has printed."""

    def count(what: str) -> int:
        found = re.search(rf"^{what}: ([\d,]+)", stats, re.MULTILINE)
        assert found is not None, f"rsync says nothing of {what!r}: {stats}"
        return int(found[1].replace(",", ""))

    sent, received = count("Total bytes sent"), count("Total bytes received")
    return Moved(count("Literal data"), sent + received)


@contextmanager
def daemon(folder: Path) -> Iterator[Receiver]:
    """Run an rsync daemon with its replicas below a folder."""
    port = free_port()
    (folder / "replicas").mkdir()
    config = folder / "rsyncd.conf"
    config.write_text(CONFIG.format(port=port, folder=folder, uid=os.getuid(), gid=os.getgid()))
    process = subprocess.Popen([rsync(), "--daemon", "--no-detach", f"--config={config}"])
    try:
        until(lambda: is_listening(port), "rsync listens")
        yield Receiver(folder, port)
    finally:
        process.terminate()
        process.wait()
