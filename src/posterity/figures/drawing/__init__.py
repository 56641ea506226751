"""What several figures share: how they look, panels, densities, and names beside points."""
