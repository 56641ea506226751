"""Learned posteriors, and how they are trained."""
