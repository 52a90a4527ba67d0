"""The policy file: read once, checked as a whole, so that no event finds its mistakes."""

import re
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmworker.domain.model import Disposition, Encryption, Transport
from kmworker.domain.policy import (
    Action,
    Circumstances,
    IvUse,
    Refused,
    Rule,
    action_of,
    circumstances_of,
)
from kmworker.domain.policy_file import covers, load_policy, shadows
from kmworker.errors import SetupError
from kmworker.wire.events.definition import EVENT_TYPES
from tests.kit.builders import (
    CIPHERS,
    DEFAULTS,
    SHIPPED,
    SHIPPED_POLICY,
    XTS,
    event_of,
    image,
    partition,
    policy_of,
    replica,
    snapshot,
    volume,
)


def rule_of(name: str = "r", **columns: object) -> str:
    """A rule in TOML; `create` unless told otherwise."""
    lines = [f"{column} = {_toml(value)}" for column, value in columns.items()]
    return "\n".join(["[[rule]]", f'name = "{name}"', *lines, *_then(columns), ""])


def _then(columns: dict[str, object]) -> list[str]:
    return [] if "then" in columns else ['then = "create"']


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value).replace("'", '"')


HERE = Circumstances("volume-created", "volume", "p1", "gold", "aes-xts-plain64", "none", "none")


# --- loading ----------------------------------------------------------------------


def test_the_shipped_policy_loads() -> None:
    assert load_policy(SHIPPED_POLICY.read_text("utf-8"), "policy.toml", EVENT_TYPES) == SHIPPED


def test_a_rules_former_word_for_allow_requested_is_read() -> None:
    former, present = (
        policy_of(rule_of("r", **{word: True})) for word in ("honour_wish", "allow_requested")
    )
    assert former == present
    assert present.rule[0].allow_requested


def test_the_shipped_ciphers_have_whole_keys_and_one_is_a_stream() -> None:
    streams = [cipher.name for cipher in SHIPPED.cipher if cipher.iv is IvUse.POSITIONAL_STREAM]
    assert streams == ["aes-ctr-plain64"]


def test_a_small_policy_loads() -> None:
    policy = policy_of(rule_of("all", then="'create'"))
    assert [rule.name for rule in policy.rule] == ["all"]
    assert policy.default_for("volume", None) == XTS


RULE = rule_of()
BAD_CIPHER = "cipher {}: key_bits {} is not a whole number of bytes from 128 to 4096 bits"


def cipher_of(name: str = "aes", key_bits: str = "[256]", iv: str = "tweak") -> str:
    return f'[[cipher]]\nname = "{name}"\nkey_bits = {key_bits}\niv = "{iv}"\n'


def producer_of(user: str = "cinder", **columns: object) -> str:
    lines = [f"{column} = {_toml(value)}" for column, value in columns.items()]
    return "\n".join(["[[producer]]", f'user = "{user}"', *lines, ""])


ERRORS = {
    "not TOML": ("this is no table", "policy test.toml is not TOML: "),
    "a key twice": (RULE + 'name = "s"\n' + CIPHERS + DEFAULTS, "is not TOML: "),
    "nothing": ("", "rule: Field required"),
    "no rules": (CIPHERS + DEFAULTS, "rule: Field required"),
    "no ciphers": (RULE + DEFAULTS, "cipher: Field required"),
    "no defaults": (RULE + CIPHERS, "default_encryption: Field required"),
    "an unknown table": (RULE + CIPHERS + DEFAULTS + "[guards]\n", "guards: Extra inputs"),
    "an unknown column": (
        rule_of(node="'n1'") + CIPHERS + DEFAULTS,
        "rule.0.node: Extra inputs are not permitted",
    ),
    "a rule without a name": (
        '[[rule]]\nthen = "create"\n' + CIPHERS + DEFAULTS,
        "rule.0.name: Field required",
    ),
    "a name with a space": (rule_of("a b") + CIPHERS + DEFAULTS, "rule.0.name: String should"),
    "a rule that says nothing": (
        '[[rule]]\nname = "r"\n' + CIPHERS + DEFAULTS,
        "rule.0.then: Field required",
    ),
    "an unknown action": (
        rule_of(then="'share'") + CIPHERS + DEFAULTS,
        "rule.0.then: Input should be 'create', 'clone', 'reuse', 'none' or 'deny'",
    ),
    "an empty column": (rule_of(project="[]") + CIPHERS + DEFAULTS, "rule.0.project: "),
    "a set of letters": (
        rule_of(project="'p[12]'") + CIPHERS + DEFAULTS,
        "rule.0.project.0: String should match pattern",
    ),
    "a number in a column": (rule_of(project="7") + CIPHERS + DEFAULTS, "rule.0.project: "),
    "an unknown event": (
        rule_of(event="['volume-*', 'volume-deleted']") + CIPHERS + DEFAULTS,
        "rule r: no event type is like volume-deleted",
    ),
    "an unknown source": (
        rule_of(source="['volume', 'volumes']") + CIPHERS + DEFAULTS,
        "rule r: no source is like volumes",
    ),
    "an unknown transport": (
        rule_of(transport="'rsync'") + CIPHERS + DEFAULTS,
        "rule r: no transport is like rsync",
    ),
    "an unknown disposition": (
        rule_of(disposition="'share'") + CIPHERS + DEFAULTS,
        "rule r: no disposition is like share",
    ),
    "a rule twice": (
        rule_of("a", project="'p1'") + rule_of("a", project="'p2'") + CIPHERS + DEFAULTS,
        "rule a is there twice",
    ),
    "a cipher twice": (
        RULE + cipher_of() + cipher_of(iv="random-stored") + DEFAULTS,
        "cipher aes is there twice",
    ),
    "a cipher's size in no whole bytes": (
        RULE + cipher_of(key_bits="[256, 257]") + DEFAULTS,
        BAD_CIPHER.format("aes", 257),
    ),
    "a cipher's size of nothing": (
        RULE + cipher_of(key_bits="[0]") + DEFAULTS,
        BAD_CIPHER.format("aes", 0),
    ),
    "a cipher's size beyond a DEK": (
        RULE + cipher_of(key_bits="[4104]") + DEFAULTS,
        BAD_CIPHER.format("aes", 4104),
    ),
    "a cipher without a size": (
        RULE + cipher_of(key_bits="[]") + DEFAULTS,
        "cipher.0.key_bits: ",
    ),
    "a cipher with an unknown IV": (
        RULE + cipher_of(iv="counter") + DEFAULTS,
        "cipher.0.iv: Input should be 'tweak', 'random-stored' or 'positional-stream'",
    ),
    "a cipher without an IV": (
        RULE + '[[cipher]]\nname = "aes"\nkey_bits = [256]\n' + DEFAULTS,
        "cipher.0.iv: Field required",
    ),
    "a cipher's name with a space": (RULE + cipher_of("a b") + DEFAULTS, "cipher.0.name: "),
    "an unlisted default": (
        RULE + CIPHERS + '[[default_encryption]]\ncipher = "serpent"\n',
        "default encryption names the unlisted cipher serpent",
    ),
    "a default of a size not allowed": (
        RULE + CIPHERS + DEFAULTS + "key_bits = 128\n",
        "default encryption: aes-xts-plain64 does not allow 128 bits",
    ),
    "a cipher's size that can be searched through": (
        RULE + cipher_of(key_bits="[256, 120]") + DEFAULTS,
        BAD_CIPHER.format("aes", 120),
    ),
    "a cipher by a word of the defaults": (
        RULE + CIPHERS + cipher_of("refuse") + DEFAULTS,
        "no cipher can be called refuse: default encryptions use the word",
    ),
    "decrypted copies by another word": (
        "decrypted_copies = true\n" + RULE + CIPHERS + DEFAULTS,
        "decrypted_copies: Input should be 'allow' or 'deny'",
    ),
    "a key of their own for snapshots": (
        rule_of(event="'snapshot-*'") + CIPHERS + DEFAULTS,
        "rule r says create, but what it matches is under its source's key",
    ),
    "no key for snapshots": (
        rule_of(event="'snapshot-taken'", then="'none'") + CIPHERS + DEFAULTS,
        "rule r says none, but what it matches is under its source's key",
    ),
    "a key of their own for replicas by block": (
        rule_of(event="'replica-added'", source="'volume'", transport="['block', 'file']")
        + CIPHERS
        + DEFAULTS,
        "rule r says create, but what it matches is under its source's key",
    ),
    "a deny with a requested disposition": (
        rule_of(then="'deny'", allow_requested=True) + CIPHERS + DEFAULTS,
        "rule r denies, so it cannot allow a requested disposition",
    ),
    "a producer without a reach": (
        RULE + CIPHERS + DEFAULTS + producer_of(types="'*'"),
        'producer cinder reaches nothing: name its projects and types, or ["*"]',
    ),
    "a producer of nothing": (
        RULE + CIPHERS + DEFAULTS + producer_of(projects="[]", types="'*'", replay=True),
        "producer.0.projects: ",
    ),
    "a producer twice": (
        RULE + CIPHERS + DEFAULTS + 2 * producer_of(projects="'*'", types="'*'"),
        "producer cinder is there twice",
    ),
    "a producer without a user": (
        RULE + CIPHERS + DEFAULTS + "[[producer]]\nreplay = true\n",
        "producer.0.user: Field required",
    ),
    "a producer of no name": (
        RULE + CIPHERS + DEFAULTS + producer_of("", replay=True),
        "producer.0.user: String should have at least 1 character",
    ),
    "a producer that is a glob": (
        RULE + CIPHERS + DEFAULTS + producer_of("cinder-*", replay=True),
        "producer cinder-*: user is one name, and not a glob; list each user",
    ),
    "a producer with a line break": (
        RULE + CIPHERS + DEFAULTS + producer_of("cinder\\n", replay=True),
        "producer 'cinder\\n': no user of a broker is called so",
    ),
    "a producer of too many bytes": (
        RULE + CIPHERS + DEFAULTS + producer_of("ü" * 128, replay=True),
        "no user of a broker is called so",
    ),
    "a producer of an unknown type": (
        RULE + CIPHERS + DEFAULTS + producer_of(projects="'*'", types="['volume-deleted']"),
        "producer cinder: no event type is like volume-deleted",
    ),
    "a producer of projects that cannot be": (
        RULE + CIPHERS + DEFAULTS + producer_of(projects="['p1', 'a b*']", types="'*'"),
        "producer cinder: no project is like a b*",
    ),
    "a producer with an unknown column": (
        RULE + CIPHERS + DEFAULTS + producer_of(project="'*'", types="'*'"),
        "producer.0.project: Extra inputs are not permitted",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), ERRORS.values(), ids=ERRORS)
def test_a_policy_that_cannot_be_is_refused_with(text: str, message: str) -> None:
    with pytest.raises(SetupError, match=re.escape(message)) as refusal:
        load_policy(text, "test.toml", EVENT_TYPES)
    assert str(refusal.value).startswith("policy test.toml")
    assert "\n" not in str(refusal.value)


def test_a_wrong_policy_comes_with_a_hint() -> None:
    with pytest.raises(SetupError) as refusal:
        load_policy("", "test.toml", EVENT_TYPES)
    assert refusal.value.hint == "compare it with the shipped config/policy.toml"


@pytest.mark.parametrize("then", ["clone", "reuse"])
@pytest.mark.parametrize(
    "source", ["'*'", "['volume', 'none']", "'image'", "'i*'", "'n?ne'"], ids=str
)
def test_a_rule_may_not_join_an_item_to_a_source_without_a_key(then: str, source: str) -> None:
    message = f"rule r says {then} but also matches items without a source key"
    with pytest.raises(SetupError, match=message):
        policy_of(rule_of(source=source, then=f"'{then}'"))


@pytest.mark.parametrize("then", ["clone", "reuse"])
def test_a_rule_without_a_source_column_may_not_join_either(then: str) -> None:
    with pytest.raises(SetupError, match="also matches items without a source key"):
        policy_of(rule_of(then=f"'{then}'"))


@pytest.mark.parametrize("then", ["create", "none", "deny"])
def test_a_rule_without_a_source_column_may_say(then: str) -> None:
    assert policy_of(rule_of(then=f"'{then}'")).rule[0].then is Action(then)


# --- shadows ----------------------------------------------------------------------

SHADOWED = {
    "the same": (rule_of("a"), rule_of("b")),
    "the same columns": (rule_of("a", project="'p1'"), rule_of("b", project="'p1'")),
    "anything above something": (rule_of("a"), rule_of("b", project="'p1'", transport="'file'")),
    "a glob above a word": (rule_of("a", project="'p*'"), rule_of("b", project="'p1'")),
    "a glob above a narrower one": (rule_of("a", project="'p*'"), rule_of("b", project="'p?1*'")),
    "a list above its part": (
        rule_of("a", source="['volume', 'image']"),
        rule_of("b", source="'image'"),
    ),
    "a list above its globs": (
        rule_of("a", project="['x*', 'p*']"),
        rule_of("b", project="['p1*', 'x?']"),
    ),
    "whatever they say": (
        rule_of("a", project="'p*'", then="'deny'"),
        rule_of("b", project="'p1'", then="'none'"),
    ),
    "with a third between them": (
        rule_of("a", project="'p*'") + rule_of("c", project="'q*'"),
        rule_of("b", project="'p1'"),
    ),
}


@pytest.mark.parametrize(("earlier", "later"), SHADOWED.values(), ids=SHADOWED)
def test_a_rule_below_one_that_matches_all_it_matches_is_refused(earlier: str, later: str) -> None:
    message = "rule b can never match: a above it matches everything it matches"
    with pytest.raises(SetupError, match=message):
        policy_of(earlier + later)


NOT_SHADOWED = {
    "the wider below": (rule_of("a", project="'p1'"), rule_of("b", project="'p*'")),
    "another column": (rule_of("a", project="'p*'"), rule_of("b", transport="'file'")),
    "one column wider, one narrower": (
        rule_of("a", project="'p*'", transport="'file'"),
        rule_of("b", project="'p1'"),
    ),
    "overlapping": (rule_of("a", project="'p*1'"), rule_of("b", project="'p1*'")),
    "a list with one more": (
        rule_of("a", source="['volume', 'image']"),
        rule_of("b", source="['image', 'none']"),
    ),
    "one letter is not any number of letters": (
        rule_of("a", project="'p?'"),
        rule_of("b", project="'p*'"),
    ),
    "another case": (rule_of("a", project="'P1'"), rule_of("b", project="'p1'")),
}


@pytest.mark.parametrize(("earlier", "later"), NOT_SHADOWED.values(), ids=NOT_SHADOWED)
def test_a_rule_that_some_event_can_reach_is_kept(earlier: str, later: str) -> None:
    assert [rule.name for rule in policy_of(earlier + later).rule] == ["a", "b"]


COVERED = {
    ("*", "*"), ("*", ""), ("*", "?"), ("*", "a*?b"), ("**", "*"), ("?", "?"), ("?", "a"),
    ("a*", "ab"), ("a*", "ab*"), ("*a", "ba"), ("*a", "?a"), ("?*", "a*"), ("a*b", "a??b"),
    ("a*b", "a*bb"), ("", ""), ("a*c*", "abcbc"),
}  # fmt: skip
NOT_COVERED = {
    ("", "*"), ("", "a"), ("a", ""), ("a", "?"), ("a", "*"), ("?", "*"), ("?", ""), ("??", "?"),
    ("a*", "*"), ("a*", "?a"), ("*a", "a*"), ("?*", "*"), ("a", "ab"), ("ab", "a"),
}  # fmt: skip


@pytest.mark.parametrize(("outer", "inner"), sorted(COVERED))
def test_a_glob_covers_one_that_matches_less(outer: str, inner: str) -> None:
    assert covers(outer, inner)


@pytest.mark.parametrize(("outer", "inner"), sorted(NOT_COVERED))
def test_a_glob_does_not_cover_one_that_matches_something_else(outer: str, inner: str) -> None:
    assert not covers(outer, inner)


GLOBS = st.text("ab*?", max_size=6)


@st.composite
def glob_pairs(draw: st.DrawFn) -> tuple[str, str, str]:
    """A glob, a likely wider one, and a text that the first matches."""
    inner = draw(GLOBS)
    wider = "".join(
        draw(st.sampled_from([letter, letter, letter, "?", "*", "**", "a"])) for letter in inner
    )
    text = "".join(_filled(draw, letter) for letter in inner)
    return draw(st.sampled_from([wider, wider, draw(GLOBS)])), inner, text


def _filled(draw: st.DrawFn, letter: str) -> str:
    if letter == "*":
        return draw(st.text("abc", max_size=3))
    return draw(st.sampled_from("abc")) if letter == "?" else letter


@given(glob_pairs())
def test_what_a_covered_glob_matches_the_covering_one_matches(pair: tuple[str, str, str]) -> None:
    outer, inner, text = pair
    assert fnmatchcase(text, inner)
    if covers(outer, inner):
        assert fnmatchcase(text, outer)


@given(GLOBS)
def test_a_glob_covers_itself_and_anything_covers_every_glob(glob: str) -> None:
    assert covers(glob, glob)
    assert covers("*", glob)


COLUMNS = st.lists(st.text("ab*?", min_size=1, max_size=4), min_size=1, max_size=2).map(tuple)


@given(COLUMNS, COLUMNS, st.text("abc", max_size=4))
def test_a_shadowed_rule_matches_nothing_that_its_shadow_does_not(
    ours: tuple[str, ...], theirs: tuple[str, ...], project: str
) -> None:
    earlier = Rule(name="a", project=ours, then=Action.CREATE)
    later = Rule(name="b", project=theirs, then=Action.CREATE)
    here = HERE._replace(project=project)
    if shadows(earlier, later) and later.matches(here):
        assert earlier.matches(here)


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
        event="volume-created",
        source="none",
        project="p1",
        volume_type="",
        cipher="aes",
        transport="none",
        disposition="none",
    )


def test_what_an_event_says_is_matched_as_it_says_it() -> None:
    event = event_of(
        replica(project="p2"),
        partition(project="p2"),
        transport=Transport.FILE,
        requested=Disposition.CLONE,
    )
    assert circumstances_of(event, "aes") == Circumstances(
        event="replica-added",
        source="partition",
        project="p2",
        volume_type="",
        cipher="aes",
        transport="file",
        disposition="clone",
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


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"event": "'*'"},
        {"event": "'replica-added'", "source": "'volume'"},
        {"event": "'replica-added'", "source": "'volume'", "transport": "'reencrypt'"},
        {"event": "'replica-added'", "source": "['none', 'volume']", "transport": "'file'"},
        {"event": "['volume-created', 'snapshot-taken']"},
    ],
    ids=str,
)
@pytest.mark.parametrize("then", ["create", "none"])
def test_a_rule_that_also_matches_what_can_have_another_key_is_taken(
    columns: dict[str, str], then: str
) -> None:
    text = rule_of(then=f"'{then}'", **columns)
    assert policy_of(text).rule[0].then.value == then


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
