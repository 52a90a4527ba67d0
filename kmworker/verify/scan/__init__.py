"""The whole store, held against itself while workers write to it.

What is suspected is looked at again in one atomic transaction of reads before it is
believed. Nothing here keeps Redis busy for long: everything is read in pages.
"""
