"""Scores over several nodes: workers of dask that compute the blocks of a lazy dataset."""
