"""Networks that know nothing of data assimilation."""
