"""Posterity: data assimilation as posterior inference."""

__version__ = "0.1.0"
