"""Scores of trajectories, composed of local ones that are learned from crops."""
