"""RabbitMQ: an Erlang node, its port mapper, and the control program.

A node registers with epmd, which Erlang starts as a daemon that outlives everybody. We
run an epmd of our own on a port of our own: it ends with the node, and neither a system's
RabbitMQ nor another run is in sight of it.
"""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode

import amqp

from tests.servers import locate, process
from tests.servers.certificates import Authority
from tests.servers.ports import free_port
from tests.servers.server import Server

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

# Names come from here alone: no name server is asked, and no resolver process left behind.
NAMES = """\
{lookup, [file]}.
{host, {127,0,0,1}, ["localhost"]}.
"""


class RabbitMQ(Server):
    """A private RabbitMQ node. It takes six seconds or more to start: share one.

    Attributes:
        authority: Who has issued its certificate, and whose certificates it trusts.
        tls_port: Where it speaks TLS, as well as without on `port`.
    """

    authority: Authority
    tls_port: int

    def __init__(self, folder: Path, options: Mapping[str, str] | None = None) -> None:
        """Prepare a node; `options` are lines of `rabbitmq.conf`, and win."""
        port = free_port()
        super().__init__(folder, port=port, url=f"amqp://guest:guest@127.0.0.1:{port}/%2F")
        self._program = locate.rabbitmq_server()
        self._epmd_program = locate.epmd()
        self._options = OPTIONS | self._tls() | dict(options or {})
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
            with amqp.Connection(
                f"127.0.0.1:{self.port}",
                connect_timeout=PROBE_TIMEOUT_S,
                read_timeout=PROBE_TIMEOUT_S,
            ):
                return True
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

    def tls_url(
        self, host: str = "localhost", port: int = 0, user: str = "guest:guest", **files: Path
    ) -> str:
        """Say how to reach it by TLS; its authority is trusted unless another is named."""
        query = urlencode({"ssl_ca_certs": self.authority.path, **files})
        login = f"{user}@" if user else ""
        return f"amqps://{login}{host}:{port or self.tls_port}/%2F?{query}"

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

    def _write_files(self) -> None:
        lines = (f"{name} = {value}\n" for name, value in self._options.items())
        (self.folder / "rabbitmq.conf").write_text("".join(lines))
        (self.folder / "enabled_plugins").write_text("[rabbitmq_auth_mechanism_ssl].\n")
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
