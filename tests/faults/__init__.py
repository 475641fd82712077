"""Faults, injected for real: what is tried, how it is run, and what must hold afterwards."""
