"""The store as commands and dashboards see it: nothing here writes."""
