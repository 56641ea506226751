"""Neurons, and the currents that drive them."""
