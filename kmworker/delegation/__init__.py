"""Who may hold a key, and how it gets there: what clients and key servers share.

A client is a host with an identity of its own (`identity`), which an operator makes known to an
installation (`enrolment`). It asks with signed requests (`requests`), and is answered by key
servers (`answers`) that the installation's offline root key vouches for (`trust_list`, `root_key`).
What is delivered is sealed to the client's identity (`sealing`), and is checked before it is opened
(`checking`). Nothing here reads or writes a network. docs/delegation-protocol.md has the bytes.
"""
