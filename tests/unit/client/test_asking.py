"""What a client believes goes by the newest trust list of its host, whichever process saw it."""

from pathlib import Path
from time import time

import pytest

from kmworker.client.asking import AskingKeys
from kmworker.client.conversation import Inquiry
from kmworker.client.trust_file import TrustFile
from kmworker.clock import rfc3339
from kmworker.delegation.answers import AnswerSigner
from kmworker.delegation.checking import RevokedKey
from kmworker.delegation.identity import Identity
from kmworker.delegation.trust_list import TrustList, make_list
from kmworker.domain.message import Original
from kmworker.errors import Untrusted
from kmworker.wire.topology import Topology
from tests.kit.delegation_vectors import (
    AT,
    CLIENT,
    ENROLMENT,
    HOST,
    INSTALLATION,
    REVOKED,
    REVOKED_ID,
    ROOT,
    SERVER,
    SOURCE,
)

DAY_S = 86_400.0
OTHER = Identity.generate(AT)


def a_list(number: int, *servers: Identity) -> TrustList:
    now_s = time()
    return make_list(
        ROOT,
        INSTALLATION,
        number,
        [it.public for it in servers],
        not_before=rfc3339(now_s - DAY_S),
        not_after=rfc3339(now_s + DAY_S),
    )


def told_by(server: Identity, carried: TrustList) -> Original:
    answer = AnswerSigner(server, carried, SOURCE).revoke(
        REVOKED_ID, CLIENT, REVOKED, at=rfc3339(time())
    )
    return Original(answer.body, "", {"application_headers": dict(answer.headers)})


def nobody(_name: str, _queues: object) -> Inquiry:
    raise AssertionError("nothing is asked")


class TwoProcesses:
    """Of one host."""

    def __init__(self, enrolment: Path) -> None:
        ENROLMENT.write(enrolment)
        self.trust, self.of_other = (TrustFile(enrolment, ENROLMENT) for _ in range(2))
        self.asking = AskingKeys(
            nobody,
            Topology("kmworker"),
            HOST,
            ENROLMENT,
            self.trust,
            deadline_s=1.0,
            listens=False,
            on_connected=lambda: None,
        )


@pytest.fixture
def host(tmp_path: Path) -> TwoProcesses:
    return TwoProcesses(tmp_path / "enrolment.json")


def test_a_key_that_another_process_knows_is_believed(host: TwoProcesses) -> None:
    host.trust.keep(a_list(2, SERVER))
    # It is not in the list that this process goes by, and brings an older one.
    message = told_by(OTHER, a_list(1, OTHER))
    with pytest.raises(Untrusted, match="list 2 does not have"):
        host.asking.revocation(message)
    host.of_other.keep(a_list(3, SERVER, OTHER))
    assert host.asking.revocation(message).answer == RevokedKey(REVOKED_ID, REVOKED)


def test_a_key_that_another_process_has_seen_left_out_is_believed_no_more(
    host: TwoProcesses,
) -> None:
    message = told_by(OTHER, a_list(1, OTHER))
    assert host.asking.revocation(message).answer == RevokedKey(REVOKED_ID, REVOKED)
    host.of_other.keep(a_list(2, SERVER))
    with pytest.raises(Untrusted, match="list 2 does not have"):
        host.asking.revocation(message)
