"""The tests: the rules that kmworker keeps, written as sentences."""
