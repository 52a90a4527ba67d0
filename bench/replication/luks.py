"""Volumes in LUKS, without privileges, as Cinder and Nova have them.

What the key manager gives is a passphrase here: the data is under the master key in the header,
which is drawn anew by each format.
"""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench.replication.daemon import Moved, Receiver
from tests.kit.servers.locate import cryptsetup, qemu_io

__all__ = ["CHANGED_PASSPHRASE", "COPIED", "FORMATTED_ANEW", "Volumes"]

COPIED: Final = "luks-copied"
FORMATTED_ANEW: Final = "luks-formatted"
CHANGED_PASSPHRASE: Final = "luks-passphrase"
HEADER_BYTES: Final = 2 << 20
PASSPHRASES: Final = ("a" * 64, "b" * 64)


class Volumes:
    """LUKS volumes of one size in a folder."""

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self._folder = folder
        self._size_bytes = size_bytes
        for name, passphrase in zip("ab", PASSPHRASES, strict=True):
            (folder / f"passphrase-{name}").write_text(passphrase)

    def format(self, path: Path, content: Path) -> None:
        """Make a volume with a header of its own, and write into it."""
        path.unlink(missing_ok=True)
        path.touch()
        os.truncate(path, HEADER_BYTES + self._size_bytes)
        # Not by qemu-img, which fails on a busy machine: it measures how fast that is.
        _run(
            cryptsetup(), "luksFormat", "--type", "luks1", path, self._folder / "passphrase-a",
            "--cipher", "aes-xts-plain64", "--key-size", "512", "--pbkdf-force-iterations", "1000",
            "--batch-mode",
        )  # fmt: skip
        self.write(path, content)

    def write(self, path: Path, content: Path) -> None:
        """Write all of it anew through qemu, under the header that is there."""
        image = f"driver=luks,key-secret=s,file.filename={path}"
        size = min(content.stat().st_size, self._size_bytes)
        command = f"write -s {content} 0 {size}"
        _run(qemu_io(), *self._secret(), "-c", command, "--image-opts", image)

    def change_passphrase(self, path: Path) -> None:
        """Give it another, as Cinder does where a volume gets another key-id."""
        _run(
            cryptsetup(), "luksChangeKey", path, self._folder / "passphrase-b",
            "--key-file", self._folder / "passphrase-a", "--force-password",
            "--pbkdf-force-iterations", "1000", "--batch-mode",
        )  # fmt: skip

    def _secret(self) -> list[str]:
        return ["--object", f"secret,id=s,file={self._folder / 'passphrase-a'}"]

    def rows(
        self, receiver: Receiver, plain: Path, changed: dict[str, Path]
    ) -> dict[str, dict[str, Moved]]:
        """Return what is moved of each kind of volume, by what has become of its content."""
        first, volume = self._folder / "first", self._folder / "volume"
        self.format(first, plain)

        def update(make: Callable[[Path, Path], None], content: Path) -> Moved:
            shutil.copy(first, receiver.replica(volume.name))
            receiver.age(volume.name)
            make(volume, content)
            return receiver.update(volume)

        def copied(volume: Path, content: Path) -> None:
            shutil.copy(first, volume)
            if content != plain:
                self.write(volume, content)

        def other_passphrase(volume: Path, _content: Path) -> None:
            shutil.copy(first, volume)
            self.change_passphrase(volume)

        return {
            COPIED: {name: update(copied, path) for name, path in changed.items()},
            CHANGED_PASSPHRASE: {"unchanged": update(other_passphrase, plain)},
            FORMATTED_ANEW: {name: update(self.format, path) for name, path in changed.items()},
        }


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{command[0]}: {done.stderr}{done.stdout}"
