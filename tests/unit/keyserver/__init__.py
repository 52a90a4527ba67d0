"""The key server, over a broker, a store and a trail in memory."""
