"""An outside client, told of the contract alone, beside a worker on real servers."""
