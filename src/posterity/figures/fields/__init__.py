"""Figures of fields: maps and animations of the plane, and spectra, over scales."""
