"""The steps of flows as loops that numba compiles, for CPUs; :mod:`posterity.systems.fused` says where they run."""
