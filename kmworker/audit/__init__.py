"""The audit trail: who had which key, and who did what to keys, in files that only grow."""
