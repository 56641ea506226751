"""Simulators that know nothing of torch: they are as good a system as any, but for gradients."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from posterity.problems import BlackBoxOperator
from posterity.systems import BlackBox, LinearAdvection, parameter_names
from posterity.testing import check_operator, check_system


@dataclass(frozen=True, kw_only=True)
class Ring(BlackBox):
    """Linear advection in NumPy."""

    channels: ClassVar[tuple[str, ...]] = ("x",)
    size: int = 6
    speed: float | Tensor = 1.0
    damping: float | Tensor = 0.05
    dt: float = 0.5

    @property
    def shape(self) -> tuple[int, ...]:
        return (1, self.size)

    def draw(self, generator: np.random.Generator, count: int) -> np.ndarray:
        return generator.standard_normal((count, *self.shape))

    def move(self, x: np.ndarray, parameters: Mapping[str, np.ndarray]) -> np.ndarray:
        k = 2 * np.pi * np.arange(self.size // 2 + 1) / self.size
        symbol = -parameters["damping"] - 0.05 * (2 - 2 * np.cos(k)) - 1j * parameters["speed"] * np.sin(k)
        x[:] = np.fft.irfft(np.fft.rfft(x) * np.exp(self.dt * symbol), n=self.size)
        return x


def test_a_simulator_in_numpy_keeps_the_rules():
    """Though it writes into what it is given."""
    assert parameter_names(Ring()) == ("speed", "damping")
    check_system(Ring())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_it_moves_as_the_same_system_in_torch_does(dtype):
    x = torch.randn(4, 3, 1, 6, dtype=dtype)
    values = {"speed": torch.linspace(0.0, 2.0, 3, dtype=dtype), "damping": torch.rand(4, 3, dtype=dtype)}
    here, there = Ring(**values).rollout(x, 3), LinearAdvection(size=6, **values).rollout(x, 3)
    assert here.dtype == dtype
    torch.testing.assert_close(here, there)


def test_draws_follow_the_seed_in_torch_s_precision():
    torch.manual_seed(3)
    x = Ring().initial((400,))
    assert not torch.equal(x, Ring().initial((400,)))
    torch.manual_seed(3)
    assert torch.equal(x, Ring().initial((400,)))
    assert abs(float(x.mean())) < 4 / x.numel() ** 0.5
    assert Ring().initial(()).shape == (1, 6)


def test_a_gradient_that_would_be_lost_is_refused():
    x = torch.randn(2, 1, 6, requires_grad=True)
    for run in (lambda: Ring().advance(x, 1), lambda: Ring().rollout(x, 1)):
        with pytest.raises(ValueError, match="system: the step of Ring passes no gradient on"):
            run()
    with torch.no_grad():
        assert torch.equal(Ring().advance(x, 1), Ring().advance(x.detach(), 1))


@dataclass(frozen=True, kw_only=True)
class Command(Ring):
    """A program that reads states from its input, a row each, and writes them back, halved."""

    def move(self, x: np.ndarray, parameters: Mapping[str, np.ndarray]) -> np.ndarray:
        given = "\n".join(" ".join(map(repr, row.tolist())) for row in x.reshape(len(x), -1))
        program = '{for (i = 1; i <= NF; i++) printf("%.17g ", $i / 2); print ""}'
        done = subprocess.run(["awk", program], input=given, capture_output=True, text=True, check=True)
        rows = [[float(value) for value in line.split()] for line in done.stdout.splitlines()]
        return np.array(rows).reshape(x.shape)


def test_a_program_is_a_system_and_is_called_once_for_a_batch():
    x = torch.randn(2, 3, 1, 6)
    torch.testing.assert_close(Command().step(x), x / 2)


@dataclass(frozen=True, kw_only=True)
class Short(Ring):
    def move(self, x, parameters):
        return x[..., :2]

    def draw(self, generator, count):
        return generator.standard_normal(self.shape)


def test_a_wrong_shape_is_named():
    with pytest.raises(ValueError, match=r"Short.move: must return shape \(5, 1, 6\), .* not \(5, 1, 2\)"):
        Short().step(torch.zeros(5, 1, 6))
    with pytest.raises(ValueError, match=r"Short.draw: must return shape \(5, 1, 6\), .* not \(1, 6\)"):
        Short().initial((5,))


class Blocks(BlackBoxOperator):
    """Means of two sites."""

    @property
    def out_shape(self) -> tuple[int, ...]:
        return (self.shape[0], self.shape[1] // 2)

    def see(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(len(x), *self.out_shape, 2).mean(axis=-1)


def test_an_operator_in_numpy_keeps_the_rules():
    check_operator(Blocks((2, 6)))
    x = torch.randn(4, 3, 2, 6, dtype=torch.float32)
    torch.testing.assert_close(Blocks((2, 6))(x), x.unflatten(-1, (3, 2)).mean(dim=-1))
