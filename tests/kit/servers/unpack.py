"""Unpack programs of another Debian, for tests on versions that this machine does not have.

`make test SERVERS=trixie` calls this for servers: it prints the folder in which the programs are;
`make pythons` has the interpreters from here. Nothing is installed, no maintainer script runs, and
this machine's apt learns nothing of it: its lists, archives and status are read from folders of
our own. Packages come from the mirrors that this machine's apt uses, and are checked by the keys
of the Debian archive, as apt does.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from tempfile import TemporaryDirectory

SUITES = ("trixie", "sid")
SERVERS = ("rabbitmq-server", "redis-server", "valkey-server")
# What their start scripts call, and what makes a folder a system that one can change into.
BESIDE = [
    "base-files",
    "dash",
    "coreutils",
    "gawk-",
    "grep",
    "hostname",
    "libc-bin",
    "mawk",
    "procps",
    "sed",
    "util-linux",
]
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
LEFT_OUT = ("doc", "locale", "man")
IN_ROOT = Path(__file__).with_name("in-root")
# Where they are in that system. The one in /usr/sbin changes to a user who is not there.
PROGRAMS = {
    "epmd": "/usr/bin/epmd",
    "rabbitmq-server": "/usr/lib/rabbitmq/bin/rabbitmq-server",
    "rabbitmqctl": "/usr/lib/rabbitmq/bin/rabbitmqctl",
    "redis-server": "/usr/bin/redis-server",
    "valkey-server": "/usr/bin/valkey-server",
}
ETC = {
    "group": "root:x:0:\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "passwd": "root:x:0:0::/root:/bin/sh\n",
}


def main() -> None:
    """Unpack what is not there yet, and print the folder of its programs."""
    (suite,) = sys.argv[1:]
    if suite not in SUITES:
        sys.exit(f"SERVERS={suite} is none of {', '.join(SUITES)}")
    folder = cache() / suite
    if not folder.exists() and not may_unpack():
        sys.exit(
            f"SERVERS={suite} needs root on a Debian with apt: it unpacks a system and changes"
            " into it; without, make test runs on this machine's servers, and CI on the others"
        )
    make(folder, suite, SERVERS)
    versions = (folder / "versions").read_text().strip()
    print(f"servers of Debian {suite}: {versions}", file=sys.stderr)
    print(write_programs(suite, folder / "root"))


def cache() -> Path:
    """Return where unpacked servers are kept; `make clean` removes it."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home, "kmworker-test-servers")


def may_unpack() -> bool:
    """Whether this is root on a Debian, whose keys it needs."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None and KEYS.exists()


def make(folder: Path, suite: str, packages: Collection[str]) -> None:
    """Unpack to a folder of the cache what is not there yet.

    Raises:
        CalledProcessError: that Debian has no such package, or cannot be reached.
    """
    if folder.exists():
        return
    print(f"unpacking {' '.join(packages)} of Debian {suite} to {folder}", file=sys.stderr)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Renamed when it is whole: a download that broke off is not taken for one.
    with TemporaryDirectory(dir=folder.parent) as scratch:
        made = Path(scratch, folder.name)
        unpack(suite, made, packages)
        made.rename(folder)


def unpack(suite: str, folder: Path, packages: Collection[str]) -> None:
    """Download packages with all they need, and unpack them to the folder `root`."""
    root, apt = folder / "root", folder / "apt"
    for made in ("lists/partial", "archives/partial", "etc"):
        (apt / made).mkdir(parents=True)
    (apt / "status").touch()
    (apt / "sources.list").write_text(sources(suite))
    command = [
        "apt-get",
        "--quiet=2",
        *(f"--option=Dir::{name}={value}" for name, value in apt_folders(apt).items()),
        "--option=APT::Install-Recommends=false",
        "--option=APT::Sandbox::User=root",
        "--option=Debug::NoLocking=true",
    ]
    subprocess.run([*command, "update"], check=True, stdout=sys.stderr)
    wanted = ["install", "--yes", "--download-only", *packages, *BESIDE]
    subprocess.run([*command, *wanted], check=True, stdout=sys.stderr)
    root.mkdir()
    archives = sorted((apt / "archives").glob("*.deb"))
    for archive in archives:
        unpack_one(archive, root)
    asked_for = [it for it in archives if it.name.partition("_")[0] in packages]
    (folder / "versions").write_text(", ".join(version(archive) for archive in asked_for))
    shutil.rmtree(apt)
    for name, text in ETC.items():
        (root / "etc" / name).write_text(text)
    # What a maintainer script would have done.
    for link, target in {"bin/sh": "dash", "usr/bin/awk": "mawk"}.items():
        if not (root / link).exists():
            (root / link).symlink_to(target)


def sources(suite: str) -> str:
    """Return apt's sources of a suite, from the mirrors that this machine's apt uses."""
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"],
        capture_output=True,
        check=True,
        text=True,
    ).stdout.split()
    mirrors = sorted({uri for uri in listed if "debian" in uri})
    main = next((uri for uri in mirrors if "security" not in uri), None)
    security = next((uri for uri in mirrors if "security" in uri), None)
    if main is None:
        sys.exit("this machine's apt names no mirror of Debian")
    lines = [f"deb [signed-by={KEYS}] {main} {suite} main\n"]
    if security is not None and suite != "sid":
        lines.append(f"deb [signed-by={KEYS}] {security} {suite}-security main\n")
    return "".join(lines)


def apt_folders(apt: Path) -> dict[str, str]:
    """Return the options that keep apt away from this machine's own lists and packages."""
    return {
        "Cache": str(apt),
        "Cache::Archives": str(apt / "archives"),
        "Etc::SourceList": str(apt / "sources.list"),
        "Etc::SourceParts": "/dev/null",
        "State::Lists": str(apt / "lists"),
        "State::Status": str(apt / "status"),
    }


def unpack_one(archive: Path, root: Path) -> None:
    """Unpack one package, without what only people read."""
    excluded = [f"--exclude=./usr/share/{name}" for name in LEFT_OUT]
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE
    ) as reading:
        subprocess.run(
            ["tar", "-x", "-C", str(root), "--keep-directory-symlink", *excluded],
            check=True,
            stdin=reading.stdout,
        )
    if reading.returncode:
        sys.exit(f"{archive.name} cannot be read")


def version(archive: Path) -> str:
    """Return a package's name and version."""
    shown = ["dpkg-deb", "--show", "--showformat", "${Package} ${Version}", str(archive)]
    return subprocess.run(shown, capture_output=True, check=True, text=True).stdout


def write_programs(suite: str, root: Path) -> Path:
    """Write a program of each name, which runs the one of that system; return their folder."""
    programs = Path(sys.prefix, "servers", suite)
    programs.mkdir(parents=True, exist_ok=True)
    for name, path in PROGRAMS.items():
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec "{IN_ROOT}" "{root}" {path} "$@"\n')
        program.chmod(0o755)
    return programs


if __name__ == "__main__":
    main()
