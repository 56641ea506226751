"""Linearised models of controls, and how the steps of a minimisation are solved for with them."""
