"""A small collection's life, for the demonstration: every disposition, and what goes wrong."""

from typing import Any, Final, NamedTuple

__all__ = ["PROJECT", "SAMPLE", "SOURCE", "SampleEvent"]

SOURCE: Final = "/demo"
PROJECT: Final = "acme"
# A Swift partition: storage policy, partition power, number. The same number means other data
# once the power was raised.
PARTITION: Final = "0/18/4711"


class SampleEvent(NamedTuple):
    """An event, or with ``body`` some bytes that are none."""

    type: str
    says: str
    data: dict[str, Any]
    body: bytes | None = None
    repeats: bool = False
    """Send the previous event once more, as a broker does after a lost acknowledgement."""

    @property
    def item(self) -> str:
        """The item ref; ``-`` where the event names none."""
        named = ((kind, self.data.get(f"{kind}_id")) for kind in ("volume", "snapshot", "replica"))
        # A snapshot names the volume that it was taken of, too.
        return next((f"{kind}:{name}" for kind, name in reversed([*named]) if name), "-")


def _volume(identifier: str, says: str, project: str = PROJECT, **more: object) -> SampleEvent:
    return SampleEvent(
        "volume-created", says, {"project_id": project, "volume_id": identifier, **more}
    )


def _snapshot(identifier: str, volume: str, says: str) -> SampleEvent:
    data = {"project_id": PROJECT, "snapshot_id": identifier, "volume_id": volume}
    return SampleEvent("snapshot-taken", says, data)


def _replica(  # noqa: PLR0913, PLR0917  # an event has that many fields
    identifier: str, kind: str, source: str, node: str, transport: str, project: str = PROJECT
) -> SampleEvent:
    data = {
        "project_id": project,
        "replica_id": identifier,
        "source": {"kind": kind, "id": source},
        "node": node,
        "transport": transport,
    }
    return SampleEvent("replica-added", f"a replica by {transport} on {node}", data)


def _from(kind: str, identifier: str, **more: str) -> dict[str, str]:
    return {"kind": kind, "id": identifier, **more}


SAMPLE: Final = (
    _snapshot("mon", "db", "a snapshot that overtakes its volume"),
    _volume("db", "a blank volume", size_bytes=10 * 2**30),
    _snapshot("tue", "db", "a second snapshot"),
    SampleEvent("snapshot-taken", "the same event once more", {}, repeats=True),
    _volume("db-test", "a volume from a snapshot", source=_from("snapshot", "mon")),
    _volume("db-copy", "a clone of a volume", source=_from("volume", "db")),
    _replica("db@nyc", "volume", "db", "blk-nyc", "block"),
    _replica("mon@nyc", "snapshot", "mon", "blk-nyc", "file"),
    _replica("db@oslo", "volume", "db", "blk-oslo", "reencrypt"),
    _replica(f"{PARTITION}@obj-1", "partition", PARTITION, "obj-1", "file", "swift-eu1"),
    _replica(f"{PARTITION}@obj-2", "partition", PARTITION, "obj-2", "file", "swift-eu1"),
    _replica(f"{PARTITION}@obj-3", "partition", PARTITION, "obj-3", "file", "swift-eu1"),
    _volume(
        "db-lent", "another project's, from acme's tue", "globex",
        source=_from("snapshot", "tue", project_id=PROJECT),
    ),
    _snapshot("lost", "unknown", "a snapshot whose volume never comes"),
    SampleEvent("volume-created", "an event that is not JSON", {}, body=b"{oops"),
)  # fmt: skip
