"""Layouts: numbers beside fields as constant channels, and the way back."""

import pytest
import torch

from posterity.nn import Layout

LAYOUTS = {
    "field": Layout((2, 4, 6)),
    "vector": Layout((5,)),
    "behind": Layout((2, 4, 6), 2, 48),
    "between": Layout((3, 8), 1, 8),
    "beside nothing": Layout.beside(3, (), 1, 3),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))
@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_values_come_back_from_the_grid(layout, batch) -> None:
    z = torch.randn(*batch, *layout.shape)
    field = layout.spread(z)
    assert field.shape == (*batch, *layout.field)
    torch.testing.assert_close(layout.gather(field), z)


def test_numbers_are_constant_channels_and_means() -> None:
    layout = LAYOUTS["between"]
    z = torch.arange(25.0)
    fields, numbers = layout.split(z)
    assert numbers.tolist() == [8.0]
    assert fields.flatten().tolist() == [*range(8), *range(9, 25)]
    assert torch.equal(layout.join(fields, numbers), z)
    field = layout.spread(z)
    assert (field[3] == 8).all()
    field[3] += torch.arange(8.0)
    assert layout.gather(field)[8] == 8 + 3.5


def test_without_sites_all_is_one_vector() -> None:
    assert Layout.beside(3, (), 2, 3).shape == (5,)
    assert Layout.beside(3, (1,), 2, 3) == Layout((5,))
    assert Layout.beside(96, (4, 6), 0, 48) == Layout((4, 4, 6), 0, 48)
    assert Layout.beside(96, (4, 6), 2, 48).field == (6, 4, 6)
