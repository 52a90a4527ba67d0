"""Measurements: how fast, how large, and why. Each prints the figures that documents quote."""
