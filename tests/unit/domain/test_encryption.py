"""With what an item is encrypted: as its event says, as its source is, or by default."""

import pytest

from kmworker.domain.decision import Create, Join, NoKey, decide
from kmworker.domain.event import UNENCRYPTED, Event, RequestedEncryption
from kmworker.domain.model import Disposition, Encryption, Held
from tests.kit.builders import (
    CTR,
    SHIPPED,
    XTS,
    XTS_256,
    asks,
    event_of,
    held,
    image,
    policy_of,
    volume,
)

BY_TYPE = """
[[default_encryption]]
volume_type = "stream"
cipher = "aes-ctr-plain64"

[[default_encryption]]
volume_type = "bare"
cipher = "none"

[[default_encryption]]
cipher = "aes-xts-plain64"
key_bits = 256
"""
CREATE_ALL = policy_of('[[rule]]\nname = "all"\nthen = "create"\n', defaults=BY_TYPE)

ENCRYPTIONS: dict[str, tuple[Event, Held | None, Encryption | None]] = {
    "blank, nothing asked: the default": (event_of(volume()), None, XTS_256),
    "blank, nothing asked: the default of its type": (
        event_of(volume(), volume_type="stream"), None, CTR,
    ),
    "blank, nothing asked, of a type that is not encrypted": (
        event_of(volume(), volume_type="bare"), None, None,
    ),
    "blank, a cipher alone: its first size": (
        event_of(volume(), encryption=RequestedEncryption(XTS.cipher, None)), None, XTS,
    ),
    "blank, cipher and size: as asked": (event_of(volume(), encryption=asks(XTS)), None, XTS),
    "blank, of a type that is not encrypted, asked": (
        event_of(volume(), volume_type="bare", encryption=asks(CTR)), None, CTR,
    ),
    "from an image, nothing asked: the default": (event_of(volume(), image()), None, XTS_256),
    "derived, nothing asked: the source's, not the default": (
        event_of(volume("v2"), volume()), held(volume(), encryption=XTS), XTS,
    ),
    "derived, the source's cipher alone: the source's size": (
        event_of(volume("v2"), volume(), encryption=RequestedEncryption(XTS.cipher, None)),
        held(volume(), encryption=XTS_256),
        XTS_256,
    ),
    "derived, another cipher alone: its first size": (
        event_of(volume("v2"), volume(), encryption=RequestedEncryption(CTR.cipher, None)),
        held(volume(), encryption=XTS),
        CTR,
    ),
    "from another project, nothing asked: the source's": (
        event_of(volume("v2"), volume(project="p2")), held(volume(project="p2")), XTS,
    ),
    "from another project, the source's cipher alone: the source's size": (
        event_of(
            volume("v2"), volume(project="p2"), encryption=RequestedEncryption(XTS.cipher, None)
        ),
        held(volume(project="p2"), encryption=XTS_256),
        XTS_256,
    ),
    "from another project's unencrypted volume, nothing asked: the default": (
        event_of(volume("v2"), volume(project="p2")),
        held(volume(project="p2"), encryption=None),
        XTS_256,
    ),
    "from another project's unencrypted volume, of a type that is not encrypted": (
        event_of(volume("v2"), volume(project="p2"), volume_type="bare"),
        held(volume(project="p2"), encryption=None),
        None,
    ),
    "from an unencrypted volume, nothing asked: the default": (
        event_of(volume("v2"), volume()), held(volume(), encryption=None), XTS_256,
    ),
    "from an unencrypted volume, of a type that is not encrypted": (
        event_of(volume("v2"), volume(), volume_type="bare"),
        held(volume(), encryption=None),
        None,
    ),
    "from an unencrypted volume, a cipher alone: its first size": (
        event_of(volume("v2"), volume(), encryption=RequestedEncryption(XTS.cipher, None)),
        held(volume(), encryption=None),
        XTS,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("event", "source", "expected"), ENCRYPTIONS.values(), ids=ENCRYPTIONS)
def test_an_item_of_its_own_scope_is_encrypted_with(
    event: Event, source: Held | None, expected: Encryption | None
) -> None:
    decision = decide(event, None, source, CREATE_ALL)
    if expected is None:
        assert isinstance(decision, NoKey)
    else:
        assert isinstance(decision, Create)
        assert decision.encryption == expected


@pytest.mark.parametrize("key_bits", [256, None], ids=["cipher and size", "cipher alone"])
def test_asking_for_the_sources_own_encryption_is_no_difference(key_bits: int | None) -> None:
    event = event_of(volume("v2"), volume(), encryption=RequestedEncryption(XTS.cipher, key_bits))
    decision = decide(event, None, held(volume(), encryption=XTS_256), SHIPPED)
    assert isinstance(decision, Join)
    assert (decision.disposition, decision.rule) == (
        Disposition.CLONE,
        "derived-volumes-get-a-clone",
    )


@pytest.mark.parametrize(
    ("event", "source"),
    [
        (event_of(volume(), encryption=UNENCRYPTED), None),
        (event_of(volume(), image(), encryption=UNENCRYPTED), None),
        (event_of(volume("v2"), volume(), encryption=UNENCRYPTED), held(volume(), encryption=None)),
    ],
    ids=["blank", "from an image", "from an unencrypted one"],
)
def test_an_item_that_says_it_is_not_encrypted_gets_no_key(
    event: Event, source: Held | None
) -> None:
    assert decide(event, None, source, SHIPPED) == NoKey("guard:not-encrypted")
