"""Is a store what the contract says? Written from docs/contract.md, and of nothing of ours."""
