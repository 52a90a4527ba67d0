"""Install the servers that the tests need, where they are missing and we may.

`make test` calls this first: the tests then run at once on a fresh machine, and where we
may not install anything one line says what to do. A package's service would compete for
memory and ports, so it is neither started now nor at the next boot.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.kit.servers import locate

# Debian asks this file whether a package may start its service; 101 means no.
POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_TEXT = """\
#!/bin/sh
# Temporary: the tests of kmworker install servers without starting them.
exit 101
"""
# RabbitMQ's packages bring the Erlang port mapper as a service of its own.
UNITS = {
    "rabbitmq-server": ["rabbitmq-server", "epmd.socket"],
    **{name: [] for name in ("amqp-tools", "softhsm2", "cryptsetup-bin", "qemu-utils")},
}

NEEDED: tuple[Callable[[], Path], ...] = (
    locate.redis_server,
    locate.valkey_server,
    locate.rabbitmq_server,
    locate.epmd,
    locate.amqp_publish,
    locate.softhsm,
    locate.cryptsetup,
    locate.qemu_img,
    locate.rsync,
)


def main() -> None:
    """Install what is missing, or say in one line what to install and fail."""
    packages = missing_packages()
    if not packages:
        return
    names = " ".join(packages)
    if not may_install():
        sys.exit(f"the tests need servers that are missing: as root, apt-get install {names}")
    print(f"installing {names} (for the tests; their services stay off)", flush=True)
    try:
        install(packages)
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error.cmd[0]} failed: install {names} by hand, then run again")
    if still := missing_packages():
        sys.exit(f"apt-get installed {names}, yet not found: {' '.join(still)}")


def missing_packages() -> list[str]:
    """Name the packages of all programs that are not here."""
    packages: set[str] = set()
    for find in NEEDED:
        try:
            find()
        except locate.MissingServerError as error:
            packages.add(error.package)
    return sorted(packages)


def may_install() -> bool:
    """Whether this is root on a Debian-like system."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(packages: list[str]) -> None:
    """Install packages as a package manager does, without their services."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    apt = ["apt-get", "--quiet=2", "--option=DPkg::Lock::Timeout=300"]
    with services_kept_off():
        subprocess.run([*apt, "update"], check=True, env=environment)
        subprocess.run(
            [*apt, "install", "--yes", "--no-install-recommends", *packages],
            check=True,
            env=environment,
            # dpkg's account of each package: visible, but not as our own result.
            stdout=sys.stderr,
        )
    # A policy keeps a service from starting now, not at the next boot.
    if Path("/run/systemd/system").exists():
        units = [unit for package in packages for unit in UNITS.get(package, [package])]
        if units:
            subprocess.run(["systemctl", "--quiet", "disable", *units], check=True)


@contextmanager
def services_kept_off() -> Iterator[None]:
    """Tell Debian to start no service; an administrator's own policy stays in force instead."""
    try:
        POLICY.touch(mode=0o755, exist_ok=False)
    except FileExistsError:
        yield
        return
    try:
        POLICY.write_text(POLICY_TEXT)
        yield
    finally:
        POLICY.unlink()


if __name__ == "__main__":
    main()
