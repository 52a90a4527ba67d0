"""How commands speak with whoever started them: text, tables, logs."""
