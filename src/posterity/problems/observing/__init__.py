"""How states are observed: operators, masks and noise, and the observation that they make together."""
