"""The policy file: read once, checked as a whole, so that no event finds its mistakes."""

import re
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmworker.domain.policy import Action, Circumstances, Rule
from kmworker.domain.policy_file import covers, load_policy, shadows
from kmworker.errors import SetupError
from kmworker.wire.events.definition import CREATING_TYPES, EVENT_TYPES
from tests.kit.builders import (
    CIPHERS,
    DEFAULTS,
    policy_of,
    rule_of,
    toml,
)

HERE = Circumstances("volume-created", "volume", "p1", "gold", "aes-xts-plain64", "none", "none")


# --- loading ----------------------------------------------------------------------


def test_a_rules_former_word_for_allow_requested_is_read() -> None:
    former, present = (
        policy_of(rule_of("r", **{word: True})) for word in ("honour_wish", "allow_requested")
    )
    assert former == present
    assert present.rule[0].allow_requested


RULE = rule_of()


def cipher_of(name: str = "aes", key_bits: str = "[256]", iv: str = "tweak") -> str:
    return f'[[cipher]]\nname = "{name}"\nkey_bits = {key_bits}\niv = "{iv}"\n'


def producer_of(user: str = "cinder", **columns: object) -> str:
    lines = [f"{column} = {toml(value)}" for column, value in columns.items()]
    return "\n".join(["[[producer]]", f'user = "{user}"', *lines, ""])


SAYS_ITS_SOURCES = "but what it matches is under its source's key"
# What a rule, beside sound ciphers and defaults, may not say.
RULES = {
    "an unknown column": (rule_of(node="'n1'"), "rule.0.node: Extra inputs are not permitted"),
    "a rule without a name": ('[[rule]]\nthen = "create"\n', "rule.0.name: Field required"),
    "a name with a space": (rule_of("a b"), "rule.0.name: String should"),
    "a rule that says nothing": ('[[rule]]\nname = "r"\n', "rule.0.then: Field required"),
    "an unknown action": (
        rule_of(then="'share'"),
        "rule.0.then: Input should be 'create', 'clone', 'reuse', 'none' or 'deny'",
    ),
    "an empty column": (rule_of(project="[]"), "rule.0.project: "),
    "a set of letters": (
        rule_of(project="'p[12]'"), "rule.0.project.0: String should match pattern",
    ),
    "a number in a column": (rule_of(project="7"), "rule.0.project: "),
    "an unknown event": (
        rule_of(event="['volume-*', 'volume-exploded']"),
        "rule r: no event type is like volume-exploded",
    ),
    "an unknown source": (
        rule_of(source="['volume', 'volumes']"), "rule r: no source is like volumes",
    ),
    "an unknown transport": (rule_of(transport="'rsync'"), "rule r: no transport is like rsync"),
    "an unknown disposition": (
        rule_of(disposition="'share'"), "rule r: no disposition is like share",
    ),
    "a rule twice": (
        rule_of("a", project="'p1'") + rule_of("a", project="'p2'"), "rule a is there twice",
    ),
    "decrypted copies by another word": (
        "decrypted_copies = true\n" + RULE, "decrypted_copies: Input should be 'allow' or 'deny'",
    ),
    "a key of their own for snapshots": (
        rule_of(event="'snapshot-*'"), f"rule r says create, {SAYS_ITS_SOURCES}",
    ),
    "no key for snapshots": (
        rule_of(event="'snapshot-taken'", then="'none'"), f"rule r says none, {SAYS_ITS_SOURCES}",
    ),
    "a key of their own for replicas by block": (
        rule_of(event="'replica-added'", source="'volume'", transport="['block', 'file']"),
        f"rule r says create, {SAYS_ITS_SOURCES}",
    ),
    "a deny with a requested disposition": (
        rule_of(then="'deny'", allow_requested=True),
        "rule r denies, so it cannot allow a requested disposition",
    ),
}  # fmt: skip
# What a cipher may not be, beside a sound rule and sound defaults.
BAD_CIPHERS = {
    "a cipher twice": (cipher_of() + cipher_of(iv="random-stored"), "cipher aes is there twice"),
    **{
        f"a cipher of {bits} bits": (
            cipher_of(key_bits=sizes),
            f"cipher aes: key_bits {bits} is not a whole number of bytes from 128 to 4096 bits",
        )
        for sizes, bits in (("[256, 257]", 257), ("[0]", 0), ("[4104]", 4104), ("[256, 120]", 120))
    },
    "a cipher without a size": (cipher_of(key_bits="[]"), "cipher.0.key_bits: "),
    "a cipher with an unknown IV": (
        cipher_of(iv="counter"),
        "cipher.0.iv: Input should be 'tweak', 'random-stored' or 'positional-stream'",
    ),
    "a cipher without an IV": (
        '[[cipher]]\nname = "aes"\nkey_bits = [256]\n', "cipher.0.iv: Field required",
    ),
    "a cipher's name with a space": (cipher_of("a b"), "cipher.0.name: "),
    "a cipher by a word of the defaults": (
        CIPHERS + cipher_of("refuse"),
        "no cipher can be called refuse: default encryptions use the word",
    ),
}  # fmt: skip
PRODUCERS = {
    "a producer without a reach": (
        producer_of(types="'*'"),
        'producer cinder reaches nothing: name its projects and types, or ["*"]',
    ),
    "a producer of nothing": (
        producer_of(projects="[]", types="'*'", replay=True), "producer.0.projects: ",
    ),
    "a producer twice": (
        2 * producer_of(projects="'*'", types="'*'"), "producer cinder is there twice",
    ),
    "a producer without a user": (
        "[[producer]]\nreplay = true\n", "producer.0.user: Field required",
    ),
    "a producer of no name": (
        producer_of("", replay=True), "producer.0.user: String should have at least 1 character",
    ),
    "a producer that is a glob": (
        producer_of("cinder-*", replay=True),
        "producer cinder-*: user is one name, and not a glob; list each user",
    ),
    "a producer with a line break": (
        producer_of("cinder\\n", replay=True),
        "producer 'cinder\\n': no user of a broker is called so",
    ),
    "a producer of too many bytes": (
        producer_of("ü" * 128, replay=True), "no user of a broker is called so",
    ),
    "a producer of an unknown type": (
        producer_of(projects="'*'", types="['volume-exploded']"),
        "producer cinder: no event type is like volume-exploded",
    ),
    "a producer of projects that cannot be": (
        producer_of(projects="['p1', 'a b*']", types="'*'"),
        "producer cinder: no project is like a b*",
    ),
    "a producer with an unknown column": (
        producer_of(project="'*'", types="'*'"),
        "producer.0.project: Extra inputs are not permitted",
    ),
}  # fmt: skip
FILES = {
    "not TOML": ("this is no table", "policy test.toml is not TOML: "),
    "a key twice": (RULE + 'name = "s"\n' + CIPHERS + DEFAULTS, "is not TOML: "),
    "nothing": ("", "rule: Field required"),
    "no rules": (CIPHERS + DEFAULTS, "rule: Field required"),
    "no ciphers": (RULE + DEFAULTS, "cipher: Field required"),
    "no defaults": (RULE + CIPHERS, "default_encryption: Field required"),
    "an unknown table": (RULE + CIPHERS + DEFAULTS + "[guards]\n", "guards: Extra inputs"),
    "an unlisted default": (
        RULE + CIPHERS + '[[default_encryption]]\ncipher = "serpent"\n',
        "default encryption names the unlisted cipher serpent",
    ),
    "a default of a size not allowed": (
        RULE + CIPHERS + DEFAULTS + "key_bits = 128\n",
        "default encryption: aes-xts-plain64 does not allow 128 bits",
    ),
    **{name: (text + CIPHERS + DEFAULTS, why) for name, (text, why) in RULES.items()},
    **{name: (RULE + text + DEFAULTS, why) for name, (text, why) in BAD_CIPHERS.items()},
    **{name: (RULE + CIPHERS + DEFAULTS + text, why) for name, (text, why) in PRODUCERS.items()},
}


@pytest.mark.parametrize(("text", "message"), FILES.values(), ids=FILES)
def test_a_policy_that_cannot_be_is_refused_with(text: str, message: str) -> None:
    with pytest.raises(SetupError, match=re.escape(message)) as refusal:
        load_policy(text, "test.toml", EVENT_TYPES, CREATING_TYPES)
    assert str(refusal.value).startswith("policy test.toml")
    assert "\n" not in str(refusal.value)


def test_a_wrong_policy_comes_with_a_hint() -> None:
    with pytest.raises(SetupError) as refusal:
        load_policy("", "test.toml", EVENT_TYPES, CREATING_TYPES)
    assert refusal.value.hint == "compare it with the shipped config/policy.toml"


@pytest.mark.parametrize("then", ["clone", "reuse"])
@pytest.mark.parametrize(
    "source", [None, "'*'", "['volume', 'none']", "'image'", "'i*'", "'n?ne'"], ids=str
)
def test_a_rule_may_not_join_an_item_to_a_source_without_a_key(
    then: str, source: str | None
) -> None:
    message = f"rule r says {then} but also matches items without a source key"
    with pytest.raises(SetupError, match=message):
        policy_of(rule_of(then=f"'{then}'", **({"source": source} if source else {})))


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
@pytest.mark.parametrize("then", ["create", "none", "deny"])
def test_a_rule_that_also_matches_what_can_have_another_key_is_taken(
    columns: dict[str, str], then: str
) -> None:
    text = rule_of(then=f"'{then}'", **columns)
    assert policy_of(text).rule[0].then.value == then


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
