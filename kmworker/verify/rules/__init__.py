"""Judging a store: records in, findings out.

Nothing here reads or writes. What a finding rests on was read by `kmworker.verify.scan`,
which looks again before it believes one.
"""
