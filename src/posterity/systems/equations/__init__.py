"""Ordinary differential equations that are written once: for torch, and for compiled rollouts."""
