"""Fields on periodic grids: quantities that derive from their channels, and spectra."""
