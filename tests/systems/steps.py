"""Rollouts by the steps that define them, and how near others come."""

import torch


def stepped(system, x, steps, error=None):
    """The rollout by the steps that define it."""
    axis, states = -len(system.shape) - 1, [x]
    for t in range(steps):
        after = system.step(states[-1])
        states.append(after if error is None else after + error.select(axis, t))
    return torch.stack(states, dim=axis)


def close(found, expected, precision=1e-13):
    """Whether numbers agree to some digits of the largest one."""
    for one, other in zip(found, expected, strict=True):
        assert float((one - other).detach().abs().max()) <= precision * float(other.detach().abs().max())
