"""Everything on one machine: an embedded server, and the programs that it takes, kept running.

These are processes of their own, as they are in production. All children end with this
process, however it ends; what the next start finds is what was on disk, which is all
that was ever promised to anyone.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, closing
from pathlib import Path
from signal import SIGTERM
from typing import TYPE_CHECKING, Final

from kmworker.embedded.exit_with_parent import exit_with_parent
from kmworker.embedded.route import Router
from kmworker.embedded.server import EmbeddedServer
from kmworker.errors import SetupError
from kmworker.files.following import StrangersLinkError, open_for_reading
from kmworker.settings import Settings
from kmworker.settings.instance import Instance, announce_instance, home, paths_in
from kmworker.store.client import connect_to
from kmworker.wire.topology import Topology

if TYPE_CHECKING:
    from kmworker.embedded.own_trust import OwnTrust

__all__ = ["Supervisor", "default_data_dir"]

LOOK_EVERY_S: Final = 0.1
RESTART_AFTER_S: Final = 1.0
REFUSED: Final = 2
"""The exit code where a person must act first: starting it again helps nobody."""
PROGRAMS: Final = ("worker", "janitor")
KEY_SERVER: Final = "keyserver"
"""It begins when there are keys: a worker has to have used the store before."""
READY_EVERY_S: Final = 0.5


class Supervisor:
    """Keeps a server and its programs running until it is told to stop."""

    def __init__(
        self,
        data_dir: Path,
        environ: Mapping[str, str],
        *,
        config: Path | None = None,
        settings: Settings,
        make_keyring: Callable[[Path], object],
    ) -> None:
        _refuse_strangers_links(data_dir)
        self.server = EmbeddedServer(data_dir)
        self._environ = environ
        self._config = config
        self._settings = settings
        self._make_keyring = make_keyring
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._trust: OwnTrust | None = None
        self._ready_at_s = 0.0
        self._stopping = False

    def start(self) -> None:
        """Start the server, declare its queues, and start the programs.

        Raises:
            SetupError: the folder cannot be used, or data is there without its keyring.
            BrokerUnavailable: the server has ended at once.
        """
        self.server.lock()
        if not self.server.keyring_path.exists():
            if self.server.has_data:
                self.server.stop()
                raise SetupError(
                    f"{self.server.data_dir} has data, but its keyring is missing",
                    hint=f"restore {self.server.keyring_path}: without it no key can be unwrapped",
                )
            self._make_keyring(self.server.keyring_path)
        self.server.start()
        self._declare()
        self._running = {name: self._start(name) for name in PROGRAMS}

    def stop_soon(self) -> None:
        """Let `run` end."""
        self._stopping = True

    def run(self) -> None:
        """Keep all running until `stop_soon`.

        Raises:
            SetupError: the server ended (a full disk, say), or a program refuses to run.
        """
        while not self._stopping:
            if not self.server.running:
                raise self.server.why_it_ended()
            for name in list(self._running):
                self._look_after(name)
            if KEY_SERVER not in self._running and time.monotonic() >= self._ready_at_s:
                self.begin_to_delegate()
                self._ready_at_s = time.monotonic() + READY_EVERY_S
            time.sleep(LOOK_EVERY_S)

    def begin_to_delegate(self) -> None:
        """Start the key server if there are keys by now.

        Raises:
            SetupError: a file in the folder, by which clients know the key server, is of no use.
        """
        if self._trust is None:
            # Here, where the programs start already: it loads half as much as they do.
            from kmworker.embedded.own_trust import OwnTrust  # noqa: PLC0415

            folder, settings = self.server.data_dir, self._settings.store
            self._trust = OwnTrust(folder, self.server.url, self.server.keyring_path, settings)
        if self._trust.is_ready():
            self._running[KEY_SERVER] = self._start(KEY_SERVER)

    def stop(self) -> None:
        """End the programs, then the server, in good order."""
        for program in self._running.values():
            program.terminate()
        for program in self._running.values():
            try:
                program.wait(self._settings.worker.stop_deadline_s + 5)
            except subprocess.TimeoutExpired:
                # What it had not acknowledged is delivered again.
                program.kill()
                program.wait()
        self.server.stop()

    def announced(self) -> AbstractContextManager[str]:
        """Let other commands find this; see `announce_instance`."""
        return announce_instance(self.instance(), self._environ)

    def instance(self) -> Instance:
        """Return what other commands need to know."""
        return Instance(
            url=self.server.url,
            keyring=str(self.server.keyring_path),
            data_dir=str(self.server.data_dir),
            pid=os.getpid(),
        )

    def _declare(self) -> None:
        """Let others publish as soon as they find this, which may be before the worker is up."""
        broker = self._settings.broker
        client = connect_to(self.server.url, broker.connect_timeout_s)
        with closing(Router(client)) as router:
            router.declare(Topology(broker.namespace))

    def _look_after(self, name: str) -> None:
        ended = self._running[name].poll()
        if ended is None:
            return
        if ended == REFUSED:
            raise SetupError(f"the {name} refuses to run", hint="it has said why, above")
        time.sleep(RESTART_AFTER_S)
        if self.server.running:
            self._running[name] = self._start(name)

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        config = [] if self._config is None else ["--config", str(self._config)]
        command = [sys.executable, "-m", "kmworker", *config, name]
        environ = {
            **self._environ,
            "KMWORKER_BROKER__URL": self.server.url,
            "KMWORKER_STORE__URL": self.server.url,
            "KMWORKER_KEYRING__PATH": str(self.server.keyring_path),
            "KMWORKER_KEYRING__ROOT": "file:",
            # Into the files of its key server.
            "KMWORKER_AUDIT__RECORDS": "true",
            **{
                f"KMWORKER_{section}__{name}".upper(): str(path)
                for (section, name), path in paths_in(self.server.data_dir).items()
            },
        }
        # A session of its own: Ctrl-C reaches us, and we stop it in good order.
        return subprocess.Popen(
            exit_with_parent(command, SIGTERM),
            env=environ,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )


def _refuse_strangers_links(data_dir: Path) -> None:
    """Refuse a folder that somebody else has chosen for us, by a link in a folder like /tmp."""
    try:
        os.close(open_for_reading(data_dir))
    except StrangersLinkError as link:
        raise SetupError(
            f"a symbolic link on the way to {data_dir} belongs to another user: {link}",
            hint="name the folder itself, or choose another with --data-dir",
        ) from None
    except OSError:
        # Not there yet, or of no use: that is said where it is made and taken.
        return


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """Return where `kmworker up` keeps its data (XDG Base Directory Specification)."""
    base = environ.get("XDG_DATA_HOME")
    if base:
        return Path(base) / "kmworker"
    return home(environ) / ".local" / "share" / "kmworker"
