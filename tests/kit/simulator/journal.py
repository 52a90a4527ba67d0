"""What has been played, so that a run of hours that was ended goes on where it was.

Kept for one state of the code: whatever is changed in what is played, or in what plays it,
begins anew. That is the modules which are imported by then, and what is no module; what commands
and tools do beside it may change.
"""

import json
import sys
from hashlib import sha256
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[3]
FOLDER: Final = ROOT / ".simulated"
BESIDE: Final = ("kmworker/store/**/*.lua", "config/policy.toml")

Part = tuple[str, str, int]
"""A kind of runs, a history, and the number of the part."""
Played = tuple[int, list[str]]
"""How many runs a part had, and those that broke a promise."""


class Journal:
    """The parts that have been played with this code, on disk as soon as each is."""

    def __init__(self, folder: Path = FOLDER, name: str | None = None) -> None:
        folder.mkdir(exist_ok=True)
        self._path = folder / f"{name or _digest()}.jsonl"
        # Who was killed while writing has left a line without an end.
        whole = [line for line in self._lines() if line.endswith("\n")]
        self._path.write_text("".join(whole), "utf-8")
        self.played: dict[Part, Played] = {
            tuple(part): tuple(played) for part, played in map(json.loads, whole)
        }

    def note(self, part: Part, played: Played) -> None:
        """Keep what a part came to."""
        self.played[part] = played
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([part, played]) + "\n")

    def forget(self) -> None:
        """Begin anew."""
        self.played.clear()
        self._path.unlink(missing_ok=True)

    def _lines(self) -> list[str]:
        if not self._path.exists():
            return []
        return self._path.read_text("utf-8").splitlines(keepends=True)


def played_files() -> list[Path]:
    """Return the files whose change makes a run another one, sorted."""
    files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    paths = (Path(file).resolve() for file in files if file)
    ours = (ROOT / "kmworker", ROOT / "tests")
    code = (it for it in paths if any(it.is_relative_to(folder) for folder in ours))
    return sorted({*code, *(it for pattern in BESIDE for it in ROOT.glob(pattern))})


def _digest() -> str:
    digest = sha256()
    for path in played_files():
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
