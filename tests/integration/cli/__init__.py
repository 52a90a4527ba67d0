"""The commands on real servers, run as an operator runs them."""
