"""Runs of the workflow from the command line: Snakemake as a child, how far it is, and what it comes to."""
