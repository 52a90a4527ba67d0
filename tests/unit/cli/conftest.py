"""Every test of a command has a machine of its own where nothing is configured."""

from tests.kit.cli.fixtures import broker, filled, folder, policy, store, template, trail

__all__ = ["broker", "filled", "folder", "policy", "store", "template", "trail"]
