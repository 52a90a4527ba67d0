"""Tokens in software: as many as tests like, in a folder that nobody else looks into.

The module is loaded into this process, once, so all tests share one folder and keep apart by
their tokens' names.
"""

import os
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pkcs11
from pkcs11 import Attribute, KeyType, Session

from tests.kit.servers import locate

CONFIGURATION = "SOFTHSM2_CONF"


@dataclass(frozen=True, slots=True)
class SoftToken:
    """A token with a key; each test may do with its own what it likes.

    Attributes:
        label: its name.
        folder: where it lies; without that it is gone.
        pin_path: the file with its PIN.
    """

    label: str
    folder: Path
    pin_path: Path
    module: Path

    def url(self, key: str = "kek") -> str:
        """Return it as the setting keyring.root names it."""
        options = f"module-path={self.module}&pin-source={self.pin_path}"
        return f"pkcs11:token={self.label};object={key}?{options}"

    def make_key(
        self, key: str, template: dict[Attribute, Any] | None = None, bits: int = 256
    ) -> None:
        """Make a key that stays in it, unless the template says otherwise."""
        usual: dict[Attribute, Any] = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}
        with self._session() as session:
            session.generate_key(
                KeyType.AES, bits, label=key, store=True, template=usual | (template or {})
            )

    def take_out(self) -> None:
        """Have it gone, as if somebody had pulled it."""
        self.folder.rename(self._aside)

    def put_back(self) -> None:
        """Have it there again."""
        self._aside.rename(self.folder)

    @property
    def is_wrong_pin_counted(self) -> bool:
        """Whether a wrong PIN was tried since the last right one."""
        token = pkcs11.lib(str(self.module)).get_token(token_label=self.label)
        return pkcs11.TokenFlag.USER_PIN_COUNT_LOW in token.flags

    @property
    def _aside(self) -> Path:
        return self.folder.parent.with_name(f"out-{self.label}")

    def _session(self) -> Session:
        library = pkcs11.lib(str(self.module))
        library.reinitialize()
        token = library.get_token(token_label=self.label)
        session: Session = token.open(rw=True, user_pin=self.pin_path.read_text())
        return session


class SoftTokens:
    """All tokens of this process."""

    def __init__(self, folder: Path) -> None:
        """Have the module look into a folder for its tokens."""
        self.module = locate.softhsm()
        self.folder = folder
        self._tokens = folder / "tokens"
        self._tokens.mkdir()
        self.configuration = folder / "softhsm2.conf"
        self.configuration.write_text(
            f"directories.tokendir = {self._tokens}\nobjectstore.backend = file\n"
            "log.level = ERROR\nslots.removable = true\n"
        )
        os.environ[CONFIGURATION] = str(self.configuration)

    def token(self) -> SoftToken:
        """Make a token with a key `kek` in it."""
        token = self.empty_token()
        token.make_key("kek")
        return token

    def empty_token(self) -> SoftToken:
        """Make a token as another process does: this one's module has not seen it yet."""
        label, pin = f"token-{secrets.token_hex(4)}", secrets.token_hex(4)
        pin_path = self.folder / f"{label}.pin"
        pin_path.write_text(pin)
        pin_path.chmod(0o600)
        before = set(self._tokens.iterdir())
        util = ["softhsm2-util", "--init-token", "--free", "--label", label]
        subprocess.run(
            [*util, "--so-pin", secrets.token_hex(4), "--pin", pin],
            check=True,
            capture_output=True,
        )
        (made,) = set(self._tokens.iterdir()) - before
        return SoftToken(label, made, pin_path, self.module)

    def close(self) -> None:
        """Let go of the module and throw the tokens away."""
        pkcs11.unload(str(self.module))
        del os.environ[CONFIGURATION]
        shutil.rmtree(self._tokens)
