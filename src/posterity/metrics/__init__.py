"""Scores and diagnostics of draws, over NumPy and xarray, lazy over dask."""
