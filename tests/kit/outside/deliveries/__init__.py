"""Attachments and keys that are asked for: what the contract says of them, drawn and played."""
