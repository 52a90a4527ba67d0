"""A policy: which rule matches, which cipher counts where nobody says, what is shipped."""

import pytest

from kmworker.domain.model import Disposition, Encryption, Transport
from kmworker.domain.policy import Circumstances, Refused, Rule, action_of, circumstances_of
from tests.kit.builders import (
    DEFAULTS,
    SHIPPED,
    XTS,
    event_of,
    image,
    partition,
    policy_of,
    replica,
    rule_of,
    snapshot,
    volume,
)

HERE = Circumstances("volume-created", "volume", "p1", "gold", "aes-xts-plain64", "none", "none")
RULE = rule_of()

# --- matching ---------------------------------------------------------------------


@pytest.mark.parametrize("column", Circumstances._fields)
def test_a_rule_matches_by_each_column(column: str) -> None:
    value = getattr(HERE, column)
    rule = Rule.model_validate({"name": "r", column: value, "then": "create"})
    assert rule.matches(HERE)
    assert not rule.matches(HERE._replace(**{column: f"{value}x"}))
    assert not rule.matches(HERE._replace(**{column: ""}))


def test_every_column_must_match() -> None:
    rule = Rule.model_validate({"name": "r", "project": "p1", "source": "volume", "then": "create"})
    assert rule.matches(HERE)
    assert not rule.matches(HERE._replace(project="p2"))
    assert not rule.matches(HERE._replace(source="image"))


def test_one_glob_of_a_column_is_enough() -> None:
    rule = Rule.model_validate({"name": "r", "project": ["x", "p?"], "then": "create"})
    assert rule.matches(HERE._replace(project="p1"))
    assert not rule.matches(HERE._replace(project="p12"))


def test_letters_are_matched_with_their_case() -> None:
    rule = Rule.model_validate({"name": "r", "volume_type": "Gold*", "then": "create"})
    assert rule.matches(HERE._replace(volume_type="Gold-2"))
    assert not rule.matches(HERE._replace(volume_type="gold-2"))


def test_the_first_rule_that_matches_decides() -> None:
    policy = policy_of(
        rule_of("first", project="'p1'") + rule_of("second", project="'p*'") + rule_of("third")
    )
    decided = [policy.first_match(HERE._replace(project=name)) for name in ("p1", "p2", "x")]
    assert [rule.name for rule in decided if rule] == ["first", "second", "third"]


def test_there_may_be_no_rule_that_matches() -> None:
    assert policy_of(rule_of(project="'p1'")).first_match(HERE._replace(project="p2")) is None


def test_what_an_event_does_not_say_is_matched_as_none_or_empty() -> None:
    event = event_of(volume())
    assert circumstances_of(event, "aes") == Circumstances(
        "volume-created", "none", "p1", "", "aes", "none", "none"
    )


def test_what_an_event_says_is_matched_as_it_says_it() -> None:
    event = event_of(
        replica(project="p2"),
        partition(project="p2"),
        transport=Transport.FILE,
        requested=Disposition.CLONE,
    )
    assert circumstances_of(event, "aes") == Circumstances(
        "replica-added", "partition", "p2", "", "aes", "file", "clone"
    )
    assert circumstances_of(event_of(volume(), image(), volume_type="x"), "").volume_type == "x"
    assert circumstances_of(event_of(snapshot(), volume()), "").event == "snapshot-taken"


@pytest.mark.parametrize("requested", [Disposition.CREATE, Disposition.CLONE, Disposition.REUSE])
def test_a_requested_disposition_is_an_action(requested: Disposition) -> None:
    assert action_of(requested).value == requested.value


# --- ciphers and defaults ---------------------------------------------------------

KINDS_AND_TYPES = """
[[default_encryption]]
kind = "replica"
cipher = "none"

[[default_encryption]]
kind = ["volume", "snap*"]
volume_type = ["ctr-*", ""]
cipher = "aes-ctr-plain64"

[[default_encryption]]
kind = "volume"
cipher = "aes-xts-plain64"
key_bits = 256
"""


@pytest.mark.parametrize(
    ("kind", "volume_type", "expected"),
    [
        pytest.param("replica", None, None, id="none means not encrypted"),
        pytest.param("volume", "ctr-1", Encryption("aes-ctr-plain64", 256), id="the first match"),
        pytest.param("volume", None, Encryption("aes-ctr-plain64", 256), id="no type is empty"),
        pytest.param("snapshot", "", Encryption("aes-ctr-plain64", 256), id="kinds are globs"),
        pytest.param("volume", "gold", Encryption("aes-xts-plain64", 256), id="a size of its own"),
        pytest.param("snapshot", "gold", None, id="no entry matches"),
        pytest.param("partition", None, None, id="no entry of this kind"),
    ],
)
def test_the_first_default_of_a_kind_and_volume_type_counts(
    kind: str, volume_type: str | None, expected: Encryption | None
) -> None:
    policy = policy_of(RULE, defaults=KINDS_AND_TYPES)
    assert policy.default_for(kind, volume_type) == expected


def test_a_default_without_a_size_has_the_ciphers_first() -> None:
    assert policy_of(RULE).default_for("volume", None) == Encryption("aes-xts-plain64", 512)


def test_a_cipher_is_listed_by_its_whole_name() -> None:
    listed = SHIPPED.listed("aes-xts-plain64")
    assert listed is not None
    assert listed.key_bits == (512, 256)
    assert SHIPPED.listed("aes-xts-plain") is None


def test_a_default_may_refuse_to_choose() -> None:
    refusing = '[[default_encryption]]\nvolume_type = "luks"\ncipher = "refuse"\n' + DEFAULTS
    policy = policy_of(RULE, defaults=refusing)
    assert policy.default_for("volume", "luks") is Refused.REFUSED
    assert policy.default_for("volume", "gold") == XTS


NAMED = '[[default_encryption]]\nvolume_type = "luks*"\ncipher = "aes-xts-plain64"\n'
ANY_TYPE = '[[default_encryption]]\ncipher = "{}"\n'
OTHERS = '[[default_encryption]]\nkind = "snapshot"\ncipher = "none"\n'


@pytest.mark.parametrize(
    ("defaults", "is_left_open"),
    [
        pytest.param(NAMED, True, id="no line for the others"),
        pytest.param(NAMED + ANY_TYPE.format("none"), True, id="the last line says none"),
        pytest.param(ANY_TYPE.format("none") + NAMED, True, id="the first line says none"),
        pytest.param(NAMED.replace("luks*", "?*"), False, id="every type is named"),
        pytest.param(NAMED + ANY_TYPE.format("refuse"), False, id="the others are refused"),
        pytest.param(NAMED + ANY_TYPE.format("aes-xts-plain64"), False, id="encrypted"),
        pytest.param(OTHERS + ANY_TYPE.format("aes-xts-plain64"), False, id="another kind"),
    ],
)
def test_a_policy_knows_whether_it_leaves_an_unnamed_volume_type_unencrypted(
    defaults: str, is_left_open: bool
) -> None:
    assert policy_of(RULE, defaults=defaults).leaves_unencrypted is is_left_open


# --- what is shipped --------------------------------------------------------------

# By the storage's own names, with the IV that it uses.
NAMES = {
    "dm-crypt": {
        "aes-xts-plain64": "tweak",
        "aes-cbc-essiv:sha256": "tweak",
        "xchacha12,aes-adiantum-plain64": "tweak",
        "aes-gcm-random": "random-stored",
        "chacha20-random": "random-stored",
        "aes-ctr-plain64": "positional-stream",
    },
    "OpenZFS": {
        f"aes-{bits}-{mode}": "random-stored" for bits in (128, 192, 256) for mode in ("gcm", "ccm")
    },
    "librbd": {"aes-128": "tweak", "aes-256": "tweak"},
    "Swift": {"AES_CTR_256": "random-stored"},
}


@pytest.mark.parametrize("storage", NAMES)
def test_the_shipped_list_has_the_names_that_the_storage_uses(storage: str) -> None:
    for name, iv in NAMES[storage].items():
        listed = SHIPPED.listed(name)
        assert listed is not None, name
        assert listed.iv.value == iv
        assert min(listed.key_bits) >= 128


def test_the_shipped_list_has_no_other_names() -> None:
    named = {name for names in NAMES.values() for name in names}
    assert {cipher.name for cipher in SHIPPED.cipher} == named


@pytest.mark.parametrize(
    ("cipher", "bits"),
    [("aes-256-gcm", 256), ("aes-192-ccm", 192), ("aes-256", 512), ("AES_CTR_256", 256)],
)
def test_a_key_is_as_long_as_the_shipped_ciphers_name_says(cipher: str, bits: int) -> None:
    listed = SHIPPED.listed(cipher)
    assert listed is not None
    # librbd's mode is XTS: two keys.
    assert listed.key_bits[0] == bits


def test_the_shipped_policy_leaves_no_volume_type_unencrypted_and_decrypts_nothing() -> None:
    assert not SHIPPED.leaves_unencrypted
    assert SHIPPED.decrypted_copies.value == "deny"
