"""What several commands say of an installation: workers, producers, crowds, lineage."""
