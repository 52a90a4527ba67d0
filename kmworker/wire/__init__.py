"""How it is said to others: every message in and out, its fields, bytes and schema."""
