"""The Redis contract: key names, records, scripts, and what dashboards read."""
