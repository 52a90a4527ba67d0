"""What rsync moves when a replica is brought up to date, by how it is encrypted."""
