"""What a replica costs: by what is decided of its key, and by its cipher."""

from typing import Any

import pytest

from kmworker.domain.explain import Explanation
from kmworker.domain.model import Encryption
from kmworker.domain.replication import replica_cost
from tests.kit.builders import SHIPPED

MEASURED: dict[str, Any] = {
    "size_bytes": 1000,
    "moved": {
        way: {"unchanged": {"literal": 0}, "overwritten": {"literal": 4 + at},
              "inserted": {"literal": 750 + at}}
        for at, way in enumerate(("none", "xts", "cbc-sector", "ctr"))
    } | {"other-key": {
        what: {"literal": 1004} for what in ("unchanged", "overwritten", "inserted")
    }},
}  # fmt: skip


def explained(
    decision: str, cipher: str | None = "aes-xts-plain64", item: str = "replica:r1",
    size_bytes: int | None = None,
) -> Explanation:  # fmt: skip
    encryption = None if cipher is None else Encryption(cipher, 256)
    return Explanation("p1", item, decision, None, "", encryption=encryption, size_bytes=size_bytes)


@pytest.mark.parametrize(
    ("explanation", "way"),
    [
        (explained("none", None), "none"),
        (explained("create"), "other-key"),
        (explained("reuse"), "xts"),
        (explained("clone"), "xts"),
        (explained("reuse", "aes-cbc-essiv:sha256"), "cbc-sector"),
        (explained("reuse", "aes-ctr-plain64"), "ctr"),
        # How it stores its IVs decides, which was not measured.
        (explained("reuse", "aes-256-gcm"), None),
        (explained("reuse", "listed-no-more"), None),
        (explained("wait", None), None),
        (explained("reuse", item="snapshot:s1"), None),
    ],
)
def test_it_is_told_by_the_row_that_it_is_like(explanation: Explanation, way: str | None) -> None:
    cost = replica_cost(explanation, SHIPPED, MEASURED)
    assert (None if cost is None else cost.way) == way


def test_it_is_told_in_shares_and_where_the_size_is_known_in_bytes() -> None:
    cost = replica_cost(explained("reuse", size_bytes=4_000), SHIPPED, MEASURED)
    assert cost is not None
    assert (cost.unchanged, cost.overwritten_bytes, cost.inserted) == (0.0, 5, 0.751)
    assert cost.inserted_bytes == 3_004
    whole = replica_cost(explained("create", size_bytes=4_000), SHIPPED, MEASURED)
    assert whole is not None
    assert (whole.inserted_bytes, whole.overwritten_bytes) == (4_000, None)
