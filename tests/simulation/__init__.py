"""Histories played in the simulator: every crash, every pair, every mutant."""
