"""Figures: datasets in, matplotlib figures out."""
