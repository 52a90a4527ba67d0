"""compose.yaml cannot be run here; what it stands on can be looked at."""

import re

from tests.integration.privilege.accounts import BROKER_USERS, CONFIG, STORE_USERS

TEXT = (CONFIG / "compose.yaml").read_text()


def test_what_it_mounts_is_there() -> None:
    mounted = re.findall(r"- \./(\S+?):/", TEXT)
    assert mounted
    assert [path for path in mounted if not (CONFIG / path).is_file()] == []


def test_its_images_are_pinned() -> None:
    images = re.findall(r"(?:^ +image:|^ +FROM) (\S+)$", TEXT, re.MULTILINE)
    assert len(images) == len(re.findall(r"^  \w+:\n +(?:image|profiles):", TEXT, re.MULTILINE))
    assert [image for image in images if not re.search(r":\d+\.\d+\.\d+", image)] == []


def test_every_account_has_a_password_of_its_own_and_none_is_in_the_file() -> None:
    accounts = [f"redis-{user}" for user in STORE_USERS]
    accounts += [f"rabbitmq-{user}" for user in BROKER_USERS]
    for account in accounts:
        assert re.search(
            rf'^  {account}: {{file: "\${{KMWORKER_SECRETS.*/{account}"}}$', TEXT, re.MULTILINE
        )
        assert f"      - {account}\n" in TEXT
    assert not re.search(r"(?i)password: |_pass(word)?[:=] ?\S", TEXT)
