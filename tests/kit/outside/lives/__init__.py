"""Lives of items and states of keys: a model of what the contract says of them, and its checks."""
