"""Shared drawing: style, panels, densities, and labels of points."""
