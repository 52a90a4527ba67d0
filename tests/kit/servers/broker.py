"""RabbitMQ: an Erlang node, its port mapper, and the control program.

A node registers with epmd, which Erlang starts as a daemon that outlives everybody. We
run an epmd of our own on a port of our own: it ends with the node, and neither a system's
RabbitMQ nor another run is in sight of it.
"""

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import amqp

from tests.kit.servers import accounts, locate, process
from tests.kit.servers.accounts import ADMIN, ADMIN_USER, CONFIG, NAMESPACE, broker_definitions
from tests.kit.servers.certificates import Authority
from tests.kit.servers.management import Management
from tests.kit.servers.ports import free_port
from tests.kit.servers.server import Server

CTL_DEADLINE_S = 60.0
PROBE_TIMEOUT_S = 5.0

OPTIONS = {
    # A scratch disk that is nearly full would block publishers, and a test would hang.
    "disk_free_limit.absolute": "1MB",
    "log.console.level": "info",
    # The write-ahead log of quorum queues; half a gigabyte by default.
    "raft.wal_max_size_bytes": "33554432",
}

# With a certificate, clients may log in by it; none is demanded.
TLS_OPTIONS = {
    "auth_mechanisms.1": "PLAIN",
    "auth_mechanisms.2": "AMQPLAIN",
    "auth_mechanisms.3": "EXTERNAL",
    "ssl_cert_login_from": "common_name",
    "ssl_options.fail_if_no_peer_cert": "false",
    "ssl_options.verify": "verify_peer",
}

PLUGINS = ("rabbitmq_auth_mechanism_ssl", "rabbitmq_management")

# Names come from here alone: no name server is asked, and no resolver process left behind.
NAMES = """\
{lookup, [file]}.
{host, {127,0,0,1}, ["localhost"]}.
"""


class RabbitMQ(Server):
    """A private RabbitMQ node. It takes six seconds or more to start: share one.

    It has the shipped settings, names and accounts; with another namespace than theirs, an
    installation has a vhost of its own, called like its namespace.

    Attributes:
        authority: Who has issued its certificate, and whose certificates it trusts.
        loaded: The folder of definitions that it loads at each start.
        management_port: Where the management plugin answers.
        tls_port: Where it speaks TLS, as well as without on `port`.
    """

    authority: Authority
    loaded: Path
    management_port: int
    tls_port: int

    def __init__(self, folder: Path, options: Mapping[str, str] | None = None) -> None:
        """Prepare a node; `options` are lines of `rabbitmq.conf`, and win."""
        super().__init__(folder, port=free_port())
        self._program = locate.rabbitmq_server()
        self._epmd_program = locate.epmd()
        self.loaded = folder / "definitions"
        self._options = accounts.settings_of(CONFIG / "rabbitmq" / "rabbitmq.conf") | OPTIONS
        self._options |= self._tls() | self._managed() | {"load_definitions": str(self.loaded)}
        self._options |= dict(options or {})
        self._namespaces = {NAMESPACE}
        self._distribution_port = free_port()
        self._epmd_port = free_port()
        self._epmd: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """Run Debian's or the generic build's script."""
        return [str(self._program)]

    def environment(self) -> Mapping[str, str]:
        """Point every file to our folder and every listener to the loopback interface."""
        return {**super().environment(), **self._erlang(), **self._addresses(), **self._files()}

    def answers(self) -> bool:
        """Whether it opens an AMQP connection: the port alone is bound much earlier."""
        try:
            with self.admin(timeout_s=PROBE_TIMEOUT_S):
                return self._management.answers()
        except (OSError, amqp.AMQPError):
            return False

    def start(self) -> None:
        """Start the node, and its port mapper unless that still runs."""
        if self._epmd is None:
            self._write_files()
            self._epmd = process.spawn(
                [str(self._epmd_program), "-port", str(self._epmd_port)],
                environment=self.environment(),
                log_path=self.folder / "epmd.log",
            )
        super().start()

    def close(self) -> None:
        """End the node and its port mapper."""
        super().close()
        if self._epmd is not None:
            process.kill(self._epmd)

    def url_of(self, role: str, names: str = NAMESPACE, *, port: int = 0) -> str:
        """Return where an account of the installation with this namespace finds it.

        Names and permissions are there from the first time on that somebody asks.
        """
        if names not in self._namespaces:
            self.define(names)
        return f"amqp://{_login(role)}@127.0.0.1:{port or self.port}/{names}"

    def tls_url_of(
        self,
        role: str | None,
        names: str = NAMESPACE,
        *,
        host: str = "localhost",
        port: int = 0,
        **files: Path,
    ) -> str:
        """Say how to reach it by TLS; its authority is trusted unless another is named.

        Without a role, whoever connects has to be known by a certificate.
        """
        self.url_of(ADMIN, names)
        query = urlencode({"ssl_ca_certs": self.authority.path, **files})
        login = f"{_login(role)}@" if role else ""
        return f"amqps://{login}{host}:{port or self.tls_port}/{names}?{query}"

    def define(self, namespace: str, *, names: bool = True, accounts: bool = True) -> None:
        """Make a vhost with the shipped names and permissions; without either, if told so."""
        definitions = broker_definitions(namespace, names=names)
        if not accounts:
            definitions = {"vhosts": definitions["vhosts"]}
        self.import_definitions(definitions)
        self._namespaces.add(namespace)

    def import_definitions(self, definitions: dict[str, Any]) -> None:
        """Create what is missing of all this, as `rabbitmqctl import_definitions` does."""
        self._management.import_definitions(definitions)

    def renew(self) -> None:
        """Make the vhost with the shipped names anew, as it is after a first start."""
        self._management.delete_vhost(NAMESPACE)
        self.import_definitions(broker_definitions(NAMESPACE))

    @contextmanager
    def user(self, name: str, password: str) -> Iterator[Callable[[str, str, str, str], None]]:
        """Have a user while this lasts, who may in a vhost what it is permitted to.

        Gives what permits it: vhost, configure, write, read.
        """
        self._management.set_user(name, password)
        try:
            yield lambda vhost, *rights: self._management.permit(vhost, name, *rights)
        finally:
            self._management.delete_user(name)

    @contextmanager
    def policy(
        self, namespace: str, pattern: str, definition: dict[str, Any], *, priority: int
    ) -> Iterator[None]:
        """Have a policy for queues while this lasts; it takes its time to reach them."""
        name = f"tests-{priority}"
        policy = {"pattern": pattern, "definition": definition, "apply-to": "queues"}
        self._management.set_policy(namespace, name, {**policy, "priority": priority})
        try:
            yield
        finally:
            self._management.clear_policy(namespace, name)

    def forget(self, names: str) -> None:
        """Delete the vhost of a namespace."""
        if names in self._namespaces and names != NAMESPACE:
            self._namespaces.remove(names)
            self._management.delete_vhost(names)

    def admin(
        self,
        namespace: str = NAMESPACE,
        *,
        timeout_s: float = CTL_DEADLINE_S,
        confirm_publish: bool = False,
    ) -> Any:
        """Return a connection of the tests' own administrator, not open yet."""
        return amqp.Connection(
            f"127.0.0.1:{self.port}",
            ADMIN_USER,
            accounts.passwords().admin,
            virtual_host=namespace,
            connect_timeout=timeout_s,
            read_timeout=timeout_s,
            confirm_publish=confirm_publish,
        )

    def ctl(self, *arguments: str) -> str:
        """Run `rabbitmqctl` on this node and give what it prints. It takes about a second."""
        program = self._program.with_name("rabbitmqctl")
        try:
            return subprocess.run(
                [str(program), "--quiet", *arguments],
                capture_output=True,
                check=True,
                env=self.environment(),
                text=True,
                timeout=CTL_DEADLINE_S,
            ).stdout
        except subprocess.CalledProcessError as error:
            error.add_note(error.stderr)
            raise

    def has_registered(self, *queues: str) -> bool:
        """Whether these quorum queues would survive `kill`.

        RabbitMQ 3.10 writes a new queue's registration half a second late. One that is killed
        before that comes back with a queue that is listed and never answers.
        """
        registries = (self.folder / "mnesia").glob("*/quorum/*/names.dets")
        found = b"".join(path.read_bytes() for path in registries)
        return all(queue.encode() in found for queue in queues)

    def _tls(self) -> dict[str, str]:
        self.authority = Authority(self.folder / "tls")
        self.tls_port = free_port()
        certificate = self.authority.issue("server", "localhost", "127.0.0.1")
        return TLS_OPTIONS | {
            "listeners.ssl.1": f"127.0.0.1:{self.tls_port}",
            "ssl_options.cacertfile": str(self.authority.path),
            "ssl_options.certfile": str(certificate.path),
            "ssl_options.keyfile": str(certificate.key_path),
        }

    def _managed(self) -> dict[str, str]:
        port = self.management_port = free_port()
        address = f"http://127.0.0.1:{port}"
        self._management = Management(address, ADMIN_USER, accounts.passwords().admin)
        return {"management.tcp.ip": "127.0.0.1", "management.tcp.port": str(port)}

    def _write_files(self) -> None:
        self.loaded.mkdir(exist_ok=True)
        definitions = json.dumps(broker_definitions(NAMESPACE))
        (self.loaded / "definitions.json").write_text(definitions)
        lines = (f"{name} = {value}\n" for name, value in self._options.items())
        (self.folder / "rabbitmq.conf").write_text("".join(lines))
        (self.folder / "enabled_plugins").write_text(f"[{','.join(PLUGINS)}].\n")
        (self.folder / "names").write_text(NAMES)

    def _erlang(self) -> dict[str, str]:
        loopback = "-kernel inet_dist_use_interface {127,0,0,1}"
        return {
            "ERL_CRASH_DUMP_SECONDS": "0",
            "ERL_INETRC": str(self.folder / "names"),
            "RABBITMQ_CTL_ERL_ARGS": loopback,
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": loopback,
            # The script then becomes the node instead of watching over it, so that our
            # signals and the leash reach the node itself.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def _addresses(self) -> dict[str, str]:
        return {
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_NODENAME": f"kmworker-{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
        }

    def _files(self) -> dict[str, str]:
        # The last three have defaults under /etc, where a system's own broker keeps its settings.
        return {
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "advanced.config"),
            "RABBITMQ_CONFIG_FILES": str(self.folder / "conf.d"),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "rabbitmq-env.conf"),
        }


def _login(role: str) -> str:
    user = ADMIN_USER if role == ADMIN else role
    return f"{user}:{accounts.passwords().of('rabbitmq', role)}"
