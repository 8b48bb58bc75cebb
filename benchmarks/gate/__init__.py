"""Simulated error rates of the release gate."""
