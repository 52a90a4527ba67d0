"""A store in memory from which keys are delegated: a list, key servers, clients."""

from kmworker.clock import rfc3339
from kmworker.delegation.clients import ClientRecord, Right, Rights, Stamp
from kmworker.delegation.encoded import as_text
from kmworker.delegation.trust_list import HandedOut, make_list
from kmworker.domain.keys import Operator
from kmworker.domain.model import Kind
from kmworker.store.keyserver_reports import KEY_SERVERS
from kmworker.store.records import CLIENTS, LIST, TRUST, RecordCodec
from tests.kit.cli.stand import NOW_S, FilledStore
from tests.kit.delegation_vectors import HOST, ROOT, SERVER

__all__ = ["DAY_S", "add_client", "hand_out", "report_key_server"]

DAY_S = 86_400.0
BY = Operator("alice", "a drill")


def hand_out(store: FilledStore, days: float = 365.0, number: int = 7) -> None:
    """Hand out a list that ends so many days after `NOW_S`."""
    installation = store.client.hget("km:layout", "installation").decode()
    begins, ends = rfc3339(NOW_S - 400 * DAY_S), rfc3339(NOW_S + days * DAY_S)
    made = make_list(ROOT, installation, number, [SERVER.public], not_before=begins, not_after=ends)
    record = HandedOut(as_text(ROOT.public), made.text, made.signature)
    store.client.hset(f"km:{TRUST}", LIST, RecordCodec(store.custody).trust(record))


def add_client(
    store: FilledStore, name: str, days: float, *, renewed_days: float = 0, is_revoked: bool = False
) -> None:
    """Enrol a client so many days before `NOW_S`, and give it another identity so many before."""

    def stamp(ago: float) -> Stamp:
        return Stamp(rfc3339(NOW_S - ago * DAY_S), BY)

    rights = Rights(frozenset({Right.GET}), frozenset({Kind.VOLUME}), ("*",), (name,))
    client = ClientRecord(
        name, 1, (HOST.public,), rights, stamp(days),
        stamp(0) if is_revoked else None, stamp(renewed_days) if renewed_days else None,
    )  # fmt: skip
    store.client.hset(f"km:{CLIENTS}", name, RecordCodec(store.custody).client(client))


def report_key_server(
    store: FilledStore, server_id: str, ago_s: float = 1.0, **fields: str | int
) -> None:
    """Report as a key server does."""
    said: dict[str, str | int] = {"state": "running", "delivered": 0, "trouble": "", **fields}
    store.client.hset(f"km:keyserver:{server_id}", mapping=said)
    store.client.zadd(f"km:{KEY_SERVERS}", {server_id: NOW_S - ago_s})
