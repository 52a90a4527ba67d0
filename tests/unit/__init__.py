"""Tests of pure code: no sockets, no processes, under a second."""
