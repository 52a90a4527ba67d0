"""What suites test with. Nothing here is a test, and no suite imports another."""
