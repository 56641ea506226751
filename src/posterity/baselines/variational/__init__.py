"""Variational methods: minimisers of the 4DVAR cost, and densities fitted to the posterior of the control."""
