"""Figures: functions from datasets to matplotlib figures."""
