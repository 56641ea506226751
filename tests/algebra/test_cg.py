"""Conjugate gradients against factorisations."""

import torch

from posterity.algebra import conjugate_gradients


def systems(batch, size, seen=4):
    """Positive definite matrices of batches, with eigenvalues of one and more, and right-hand sides."""
    root = torch.randn(*batch, size, seen)
    return torch.eye(size) + root @ root.mT, torch.randn(*batch, size)


def times(matrix):
    return lambda p: (matrix @ p.unsqueeze(-1)).squeeze(-1)


def test_the_solution_is_that_of_a_factorisation():
    a, b = systems((2, 3), 8)
    found = conjugate_gradients(times(a), b, torch.full((2, 3), 1e-12), 50)
    torch.testing.assert_close(found.x, torch.linalg.solve(a, b), rtol=1e-10, atol=1e-10)
    assert (found.residual.norm(dim=-1) <= 1e-12).all()


def test_as_many_products_as_distinct_eigenvalues():
    """Four directions seen, and the rest at one: five products."""
    a, b = systems((3,), 8)
    found = conjugate_gradients(times(a), b, torch.full((3,), 1e-10), 50)
    assert found.iterations.tolist() == [5, 5, 5]


def test_the_inverse_preconditions_perfectly():
    a, b = systems((3,), 8)
    found = conjugate_gradients(times(a), b, torch.full((3,), 1e-9), 50, precondition=times(torch.linalg.inv(a)))
    assert found.iterations.tolist() == [1, 1, 1]
    torch.testing.assert_close(found.x, torch.linalg.solve(a, b), rtol=1e-9, atol=1e-9)


def test_each_system_stops_on_its_own():
    """Tolerances of one system change nothing in the others, and each has what it would have alone."""
    a, b = systems((3,), 12, seen=10)
    tolerance = torch.tensor([1e-10, 0.5, 1e-2]) * b.norm(dim=-1)
    together = conjugate_gradients(times(a), b, tolerance, 50)
    assert len(set(together.iterations.tolist())) == 3
    for i in range(3):
        alone = conjugate_gradients(times(a[i : i + 1]), b[i : i + 1], tolerance[i : i + 1], 50)
        torch.testing.assert_close(together.x[i], alone.x[0], rtol=1e-12, atol=1e-12)
        assert together.iterations[i] == alone.iterations[0]
        assert float((b - times(a)(together.x))[i].norm()) <= float(tolerance[i]) * (1 + 1e-8)


def test_hopeless_systems_spoil_no_other():
    """Not finite, indefinite, and nothing to solve: the last keeps zero without a product."""
    a, b = systems((4,), 6)
    expected = torch.linalg.solve(a[0], b[0])
    a[1], a[2], b[3] = torch.nan, -a[2], 0
    found = conjugate_gradients(times(a), b, torch.full((4,), 1e-12), 50)
    torch.testing.assert_close(found.x[0], expected, rtol=1e-10, atol=1e-10)
    assert (found.x[1:] == 0).all()
    assert found.iterations[1:].tolist() == [1, 1, 0]


def test_a_truncated_solution_descends():
    """Every truncation lowers the quadratic by more than the one before."""
    a, b = systems((2,), 10)
    values = []
    for products in range(5):
        x = conjugate_gradients(times(a), b, torch.zeros(2), products).x
        values.append(0.5 * (x * times(a)(x)).sum(-1) - (b * x).sum(-1))
    assert (torch.stack(values).diff(dim=0) < 0).all()
