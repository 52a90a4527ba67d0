"""What a delivered key opens, by the tools that nodes have: LUKS in plain files, no privileges.

The documents' own programs, as whoever runs a node would: a shell, a library, and two hundred lines
that have nothing of this project in them.
"""

import os
import shutil
import subprocess
import sys
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

import pytest

from tests.integration.cli.test_events import volume
from tests.integration.cli.test_key_states import clone
from tests.kit.outside.delegating import CLIENT, Delegation, P, attached
from tests.kit.outside.worker import PROJECT_ROOT, program
from tests.kit.polling import until
from tests.kit.servers import locate

EXAMPLES: Final = PROJECT_ROOT / "docs" / "examples"
TEXT: Final = b"a tenant's own data " * 1000
LUKS_BYTES: Final = 20 * 1024 * 1024
HURRIED_CRYPTSETUP: Final = """
if [ "$1" = luksFormat ]; then set -- "$@" --pbkdf=pbkdf2 --pbkdf-force-iterations=1000; fi
if [ "$1 $2 $3" = "open --type plain" ]; then
    # What needs a device mapper is given, and not done.
    printf "%s\\n" "$@" "key $(sha256sum < /dev/fd/3 | cut -d' ' -f1)" >&2
    exit
fi
exec {} "$@"
"""
HURRIED_QEMU: Final = """
if [ "$1" = create ]; then shift; set -- create -o iter-time=10 "$@"; fi
exec {} "$@"
"""


@dataclass(frozen=True, slots=True)
class Node:
    """A host where a volume is attached, and its programs."""

    made: Delegation
    programs: Path
    """A folder with `kmworker`, and tools that hurry."""

    def environment(self) -> dict[str, str]:
        """Return what its programs are given."""
        site = self.made.hosted()
        folders = [str(self.programs), str(locate.cryptsetup().parent), os.environ["PATH"]]
        return {
            **site.environment("client", "get"),
            "PATH": os.pathsep.join(folders),
            "HOST_FOLDER": str(self.made.host),
            "BROKER_URL": site.broker_url(CLIENT),
            "NAMESPACE": site.namespace,
        }

    def run(self, *command: str | Path, exit_code: int = 0) -> "subprocess.CompletedProcess[bytes]":
        """Run one of the documents' programs."""
        done = subprocess.run(
            command, env=self.environment(), capture_output=True, check=False, timeout=120
        )
        told = f"{command} ended with {done.returncode}:\n{done.stderr.decode()}"
        assert done.returncode == exit_code, told
        return done

    def use(self, name: str, what: str, *rest: str | Path, exit_code: int = 0) -> str:
        """Do something with a volume's key; return what is said of it."""
        done = self.run("bash", EXAMPLES / "use_key.sh", P, name, what, *rest, exit_code=exit_code)
        return done.stderr.decode()


@pytest.fixture(scope="module")
def node(delegation: Delegation, tmp_path_factory: pytest.TempPathFactory) -> Node:
    names = ("v1", "copy", "v2", "elsewhere")
    delegation.tell(volume("v1", P), clone("copy", "v1"), volume("v2", P), volume("elsewhere", P))
    reader = delegation.site.reader
    until(lambda: len(reader.table(P, "items")) == len(names), "all have their keys")
    delegation.tell(*(attached(it) for it in names[:3]), attached("elsewhere", node="compute-99"))
    until(lambda: len(reader.table(P, "grants")) == len(names), "they are attached")
    programs = tmp_path_factory.mktemp("bin")
    for name, lines in {
        "kmworker": f'exec {" ".join(program())} "$@"',
        # The tools themselves, but for how long they make a guess at a passphrase take.
        "cryptsetup": HURRIED_CRYPTSETUP.format(locate.cryptsetup()),
        "qemu-img": HURRIED_QEMU.format(locate.qemu_img()),
        "virsh": 'printf "%s\\n" "$@" >&2; cat /dev/fd/3 >&2',
    }.items():
        (programs / name).write_text(f"#!/bin/bash\n{lines}\n")
        (programs / name).chmod(0o755)
    return Node(delegation, programs)


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """What stands for a block device."""
    path = tmp_path / "volume.img"
    with path.open("wb") as file:
        file.truncate(LUKS_BYTES)
    return path


def passphrase_of(node: Node, name: str) -> bytes:
    """The passphrase of a volume, by what its key operator exports."""
    return b64encode(node.made.exported(name))


def test_a_volumes_key_opens_it_its_clones_opens_the_copy_and_no_other_does(
    node: Node, device: Path, tmp_path: Path
) -> None:
    node.use("v1", "luks-format", device)
    node.use("v1", "luks-test", device)
    copied = shutil.copy(device, tmp_path / "copy.img")
    node.use("copy", "luks-test", copied)
    assert "No key available with this passphrase" in node.use(
        "v2", "luks-test", device, exit_code=2
    )
    # By a second way to the same key, so that it is no other passphrase that opens it.
    by_hand = subprocess.run(
        [locate.cryptsetup(), "open", "--test-passphrase", "--key-file", "-", device],
        input=passphrase_of(node, "v1"), check=False,
    )  # fmt: skip
    assert by_hand.returncode == 0


def _is_made(node: Node, image: Path) -> bool:
    """Make an image, unless qemu cannot tell how much of a busy processor it has had."""
    try:
        node.use("v1", "qemu-create", image, "1M")
    except AssertionError as failed:
        if "Unable to get accurate CPU usage" not in str(failed):
            raise
        image.unlink(missing_ok=True)
        return False
    return True


def test_what_qemu_has_encrypted_is_read_with_the_clones_key_and_with_no_other(
    node: Node, tmp_path: Path
) -> None:
    image, content, read = (tmp_path / it for it in ("volume.luks", "content", "read"))
    until(lambda: _is_made(node, image), "qemu has made the image")
    content.write_bytes(TEXT)
    _fill(image, content, passphrase_of(node, "v1"))
    assert TEXT[:100] not in image.read_bytes()
    for name in ("v1", "copy"):
        node.use(name, "qemu-read", image, read)
        assert read.read_bytes().startswith(TEXT)
        read.unlink()
    assert "Invalid password" in node.use("v2", "qemu-read", image, read, exit_code=1)
    assert not read.exists() or TEXT[:100] not in read.read_bytes()
    # And by the other tool.
    node.use("copy", "luks-test", image)


def _fill(image: Path, content: Path, passphrase: bytes) -> None:
    secret = image.with_suffix(".secret")
    secret.touch(0o600)
    secret.write_bytes(passphrase)
    subprocess.run(
        [locate.qemu_img(), "convert", "-n", "--object", f"secret,id=k,file={secret}", "-f", "raw",
         content, "--target-image-opts", f"driver=luks,key-secret=k,file.filename={image}"],
        check=True,
    )  # fmt: skip
    secret.unlink()


def test_what_needs_privileges_is_given_the_key_as_it_is_and_not_by_standard_input(
    node: Node, device: Path
) -> None:
    told = node.use("v1", "plain-open", device, "data").splitlines()
    assert told[-1] == f"key {sha256(node.made.exported('v1')).hexdigest()}"
    # cryptsetup hashes what a plain device is given by standard input, and no other file.
    assert told[told.index("--key-file") + 1] == "/dev/fd/3"
    assert told[told.index("--key-size") + 1] == str(8 * len(node.made.exported("v1")))
    *given, passphrase = node.use("v1", "libvirt-secret", "a-uuid").splitlines()
    assert given[-5:] == ["secret-set-value", "--plain", "--file", "/dev/fd/3", "a-uuid"]
    assert passphrase.encode() == passphrase_of(node, "v1")


def test_without_a_key_nothing_is_done(node: Node, device: Path, tmp_path: Path) -> None:
    image = tmp_path / "volume.luks"
    of_host = [node.made.host / f"{it}.json" for it in ("identity", "enrolment")]
    commands = [
        ["bash", EXAMPLES / "use_key.sh", P, "elsewhere", "luks-format", device],
        ["bash", EXAMPLES / "use_key.sh", P, "elsewhere", "qemu-create", image, "1M"],
        [sys.executable, EXAMPLES / "get_key.py", P, "elsewhere"],
        [sys.executable, EXAMPLES / "ask_for_key.py", *of_host, P, "volume:elsewhere"],
    ]
    # Each waits for its grant.
    with ThreadPoolExecutor(len(commands)) as pool:
        done = list(pool.map(lambda it: node.run(*it, exit_code=1), commands))
    assert [it.stdout for it in done] == [b""] * len(commands)
    assert all(b"not-granted" in it.stderr for it in done)
    assert set(device.read_bytes()) == {0}
    assert not image.exists()


def test_the_library_gets_the_key(node: Node) -> None:
    told = node.run(sys.executable, EXAMPLES / "get_key.py", P, "v1").stdout.decode().split()
    assert told[1:] == ["aes-xts-plain64", sha256(node.made.exported("v1")).hexdigest()]


def test_a_client_that_has_nothing_of_this_package_gets_the_key(node: Node, tmp_path: Path) -> None:
    alone = {name: it for name, it in node.environment().items() if not name.startswith("KMWORKER")}
    of_host = [node.made.host / f"{it}.json" for it in ("identity", "enrolment")]
    # A folder where no `kmworker` is to be found.
    blocked = tmp_path / "kmworker.py"
    blocked.write_text("raise ImportError('not here')")
    for name in ("v1", "copy"):
        done = subprocess.run(
            [sys.executable, EXAMPLES / "ask_for_key.py", *of_host, P, f"volume:{name}"],
            env={**alone, "PYTHONPATH": str(tmp_path)}, capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()
        assert done.stdout == node.made.exported("v1")
