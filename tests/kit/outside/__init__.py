"""An outside client: it knows the public contract and nothing else.

Nothing here imports the product. It is started as a program, spoken to over
AMQP, read through Redis, and held to an independent model of what it promised.
"""
