"""A whole store held against itself."""
