"""Encodings of numbers."""

import math

import pytest
import torch

from posterity.nn import SineEncoding


def test_features_are_sines_and_cosines_of_rising_frequencies() -> None:
    encoding = SineEncoding(6, low=0.5, high=8.0)
    value = torch.tensor([0.0, 0.7, -3.0])
    found = encoding(value)
    assert found.shape == (3, 6)
    for column, frequency in enumerate((0.5, 2.0, 8.0)):
        torch.testing.assert_close(found[:, column], torch.sin(frequency * value))
        torch.testing.assert_close(found[:, 3 + column], torch.cos(frequency * value))


def test_one_frequency_and_any_batch() -> None:
    found = SineEncoding(2, low=math.pi)(torch.tensor([[0.5, 1.0]]))
    torch.testing.assert_close(found, torch.tensor([[[1.0, 0.0], [0.0, -1.0]]]))


def test_near_numbers_are_told_apart() -> None:
    """A hundredth of the diffusion's time moves the features by more than an untrained network's rounding."""
    near, far = SineEncoding(16)(torch.tensor([0.5, 0.51])).unbind()
    assert float((near - far).norm()) > 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": 5}, "features: sines and cosines come in pairs, so an even number is needed, not 5"),
        ({"features": 0}, "features: .* not 0"),
        ({"features": 4, "low": 0.0}, "low: frequencies are positive"),
        ({"features": 4, "low": 3.0, "high": 2.0}, "low: frequencies are positive and rise to high"),
    ],
)
def test_what_is_no_encoding_is_refused(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        SineEncoding(**options)
