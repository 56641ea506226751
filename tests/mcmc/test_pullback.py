"""Potentials in the coordinates of a Gaussian: their gradient by autograd, and a case alone."""

import torch

from posterity.algebra import Gaussian, PrecisionFactor
from posterity.mcmc import Pullback


def test_the_gradient_is_that_of_the_cost_at_the_point(square):
    n = square.size
    root = torch.randn(square.cases, n, n)
    precision = 20 * torch.eye(n) + root @ root.mT
    q = Gaussian(0.1 * torch.randn(square.cases, n), PrecisionFactor.of(precision))
    z = torch.randn(3, square.cases, n, requires_grad=True)
    pulled = Pullback(square, q)
    expected = square.cost(pulled.place(z))
    (slope,) = torch.autograd.grad(expected.sum(), z)
    cost, gradient = pulled.cost_and_gradient(z.detach())
    torch.testing.assert_close(cost, expected.detach())
    torch.testing.assert_close(gradient, slope)

    some = torch.tensor([3, 1])
    part = pulled.select(some)
    before = square.gradients.clone()
    torch.testing.assert_close(part.cost_and_gradient(z.detach()[:, some])[1], gradient[:, some])
    pulled.absorb(part, some)
    assert (square.gradients - before).tolist() == [0, 3, 0, 3, 0]
