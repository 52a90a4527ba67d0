"""compose.yaml cannot be run here; what it stands on can be looked at."""

import json
import re
from typing import Final

import yaml

from tests.integration.privilege.accounts import CONFIG

PATTERNS: Final = {"client"}
"""Accounts of which each host has one of its own, by another name."""
TEXT = (CONFIG / "compose.yaml").read_text()
SERVICES = yaml.safe_load(TEXT)["services"]


def test_what_it_mounts_is_there() -> None:
    mounted = re.findall(r"- \./(\S+?):/", TEXT)
    assert mounted
    assert [path for path in mounted if not (CONFIG / path).is_file()] == []


def test_its_images_are_pinned() -> None:
    images = re.findall(r"(?:^ +image:|^ +FROM) (\S+)$", TEXT, re.MULTILINE)
    assert len(images) == len(re.findall(r"^  \w+:\n +(?:image|profiles):", TEXT, re.MULTILINE))
    assert [image for image in images if not re.search(r":\d+\.\d+\.\d+", image)] == []


def test_every_account_has_a_password_of_its_own_and_none_is_in_the_file() -> None:
    acl = (CONFIG / "redis" / "users.acl").read_text()
    named = re.findall(r"^user (\S+) off ", acl, re.MULTILINE)
    definitions = json.loads((CONFIG / "rabbitmq" / "definitions.json").read_text())
    accounts = {
        "store": [f"redis-{user}" for user in named if user != "default"],
        "broker": [
            f"rabbitmq-{it['name']}" for it in definitions["users"] if it["name"] not in PATTERNS
        ],
    }
    for server, files in accounts.items():
        assert len(files) > 1
        # A server that is not given it leaves the account switched off.
        assert set(files) == set(SERVICES[server]["secrets"])
        for file in files:
            assert re.search(
                rf'^  {file}: {{file: "\${{KMWORKER_SECRETS.*/{file}"}}$', TEXT, re.MULTILINE
            )
            assert re.search(rf"^# .*\b{file}\b", TEXT, re.MULTILINE)
    assert not re.search(r"(?i)password: |_pass(word)?[:=] ?\S", TEXT)


def test_it_runs_what_the_procfile_runs_with_what_each_needs() -> None:
    processes = (CONFIG.parent / "Procfile").read_text().splitlines()
    for name, command in (it.split(": ") for it in processes):
        service = SERVICES[name]
        started = service["entrypoint"][-1]
        assert started.rstrip().endswith(f"exec {command}")
        given = {f"/run/secrets/{it}" for it in service["secrets"]}
        assert set(re.findall(r"/run/secrets/[a-z.-]+", started)) <= given
        assert {it for it in service["environment"].values() if "secrets" in it} <= given
