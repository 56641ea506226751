"""Ratios of densities: networks, the losses that they minimise, and samplers of what they define."""
