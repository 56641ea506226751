"""Runs of the workflow from the command line: Snakemake as a child, what it has done so far, and what it comes to."""
