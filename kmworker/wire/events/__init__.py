"""The wire, in: what producers publish, checked and typed."""
