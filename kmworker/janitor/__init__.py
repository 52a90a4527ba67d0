"""What happens because time has passed: keys that nobody holds, and what is said of the gone."""
