"""Is the store what the workers made of it? Rules judge, a scan reads, a repair puts right."""
