"""kmworker gives every encrypted volume, snapshot and replica its key."""

__version__ = "0.1.0"
