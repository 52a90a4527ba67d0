"""The accounts of config/, on real servers: each can do its job and nothing else."""
