"""Delegation on real servers, with the shipped accounts."""
