"""How every command begins and ends, what it reaches, and whom servers refuse it to."""
