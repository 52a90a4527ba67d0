"""The key server: requests in, keys out that are sealed to who asked, and nothing unrecorded."""
