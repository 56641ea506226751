"""Frames: the coordinates of the control in which an estimator learns, found for each window."""
