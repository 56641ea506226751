"""Roots of covariances: what white noise becomes, of backgrounds and of model errors."""
