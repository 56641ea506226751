"""Random numbers of one's own: they change none that others draw."""

import pytest
import torch

from posterity.tensors import kept_bytes, own_random_numbers


@pytest.mark.parametrize("drawn", [0, 1, 1000])
def test_what_is_drawn_inside_changes_nothing_behind(drawn):
    torch.manual_seed(3)
    before = torch.randn(4)
    with own_random_numbers():
        inside = torch.randn(drawn)
    behind = torch.randn(4)
    torch.manual_seed(3)
    assert torch.equal(before, torch.randn(4))
    with own_random_numbers():
        pass
    assert torch.equal(behind, torch.randn(4))
    # Nor does it repeat what is drawn behind.
    assert not torch.isclose(inside[: len(behind)], behind[: len(inside)]).any()


def test_the_seed_and_the_place_decide_what_is_drawn_inside():
    found = []
    for _ in range(2):
        torch.manual_seed(3)
        for _ in range(2):
            with own_random_numbers():
                found.append(torch.randn(3))
    assert torch.equal(found[0], found[2])
    assert torch.equal(found[1], found[3])
    assert not torch.equal(found[0], found[1])


def test_memory_that_derivatives_keep_is_counted_once():
    """A product keeps both factors, an exponential its result; weights are there anyway, and views are no memory."""
    x, weight = torch.randn(5, 6, requires_grad=True), torch.randn(5, 6)
    size = x.numel() * x.element_size()
    assert kept_bytes(lambda: x * weight) == [size]
    assert kept_bytes(lambda: x * weight, weight) == []
    assert kept_bytes(lambda: (x.exp() * x.exp().mT.mT).exp()) == [size] * 3
