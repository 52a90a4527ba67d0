"""Every key of the store, in one place: these names are the Redis contract."""

from dataclasses import dataclass
from typing import Final

__all__ = ["Names"]

SECRET: Final = ("deks", "parked", "expired")


@dataclass(frozen=True, slots=True)
class Names:
    """Key names under one prefix.

    All keys of a project share the hash tag ``{project}``, so that each script runs on
    one slot. Whatever dashboards may not see is under another prefix altogether,
    because a Redis ACL grants by pattern.
    """

    prefix: str

    def of(self, project: str, key: str) -> str:
        """Return one of a project's keys by its short name."""
        secret = "secret" if key in SECRET else ""
        return f"{self.prefix}{secret}:{{{project}}}:{key}"

    def all_of(self, project: str, *keys: str) -> list[str]:
        """Return several of a project's keys."""
        return [self.of(project, key) for key in keys]

    def endings(self, project: str) -> str:
        """Return the chain of a project's endings; of the clients' for ''."""
        return self.of(project, "endings") if project else self.top("endings")

    def worker(self, worker_id: str) -> str:
        """Return the hash of one worker."""
        return f"{self.prefix}:worker:{worker_id}"

    def key_server(self, server_id: str) -> str:
        """Return the hash of one key server."""
        return f"{self.prefix}:keyserver:{server_id}"

    def lease(self, work: str) -> str:
        """Return the key that one worker holds while it does the others' work too."""
        return f"{self.prefix}:lease:{work}"

    def asked(self, digest: str) -> str:
        """Return the key that remembers one request."""
        return f"{self.prefix}:asked:{digest}"

    def copies_of(self, project: str, key_id: str) -> str:
        """Return the key of the clients that may hold a copy of a key-id's key."""
        return self.of(project, f"copies:{key_id}")

    def copies_at(self, client: str) -> str:
        """Return the key of the copies that a client may hold."""
        return f"{self.prefix}:copies:{client}"

    def top(self, key: str) -> str:
        """Return a key that belongs to no project: projects, totals, dead, queues, …."""
        return f"{self.prefix}:{key}"
