"""Rollouts of equations as kernels of Triton, for GPUs; :mod:`posterity.systems.equations.ode` says where they run."""
