"""``posterity new``: commented files to begin with, which work as they are. Imports no torch."""

import keyword
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from ...data import atomic
from ...errors import ConfigError
from ...experiment import files
from ...experiment.consistency import LETTERS, is_name

#: What can be begun.
What = Literal["experiment", "system", "method"]

EXPERIMENT = """\
# {name}: what it asks, in a sentence. Hold it against what there is with `posterity check {name}`, run it with
# `posterity run {name}`, and see `posterity list` for all that may stand here. docs/configuration.md has every key.
title: {name}

# The model: `posterity list systems`, and `posterity show lorenz96` for its options.
system:
  kind: lorenz96
  options: {{size: 16, dt: 0.1}}

# What is seen of a state: nothing if masked, else what the operators make of it, with noise of this standard deviation
# (a number, or an interval from which each entry draws its own).
observation:
  operator: [identity]
  mask:
    - {{kind: random, options: {{fraction: 0.5}}}}
  std: 1.0

# The prior of the first state: a Gaussian around a background (joint: background), or the model's climatology.
prior:
  joint: background
  std: 1.0

# States that are assimilated, and those behind them that are forecast.
window: 8
forecast: 2

# How many cases there are. Training sets are simulated only if a method is trained.
splits:
  train: {{cases: 4096}}
  valid: {{cases: 512}}
  test: {{cases: 16}}
samples: 200

# Methods, by names of your own: `posterity list methods`.
methods:
  prior: {{kind: prior}}
  4dvar: {{kind: 4dvar}}
  etkf: {{kind: etkf, options: {{members: 200}}}}
  # One that is trained, and its draws weighted by importance:
  # npe: {{kind: npe, training: {{epochs: 20}}}}
  # npe-importance: {{refines: npe, refinement: importance}}

# What methods are held against, in two independent runs that say how good it is itself; null for nothing.
reference:
  kind: smc
  samples: 200
  runs: 2
"""

SYSTEM = '''\
"""{title}, a dynamical system: `system: {{kind: "{module}:{cls}"}}` in an experiment takes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, randn

from posterity.systems import System
from posterity.systems.integrators import rk4


@dataclass(frozen=True, kw_only=True)
class {cls}(System):
    """{title}: a ring of sites that a nonlinear wave moves, forces and damps. Put your equation here.

    Args:
        size: The number of sites.
        forcing: The forcing, a number or a tensor with one value per batch element: it may be unknown.
        dt: Time between states.
        spinup: Time between the noise and the first state.
    """

    # Names of the channels of a state, and the number of axes of its grid, which tells which figures show something.
    channels: ClassVar[tuple[str, ...]] = ("x",)
    axes: ClassVar[int | str] = 1

    # Options: what may be unknown, or differ between cases, may be a tensor.
    size: int = 8
    forcing: float | Tensor = 8.0
    dt: float = 0.05
    spinup: float = 10.0

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a state: channels first, then the grid."""
        return (1, self.size)

    def initial(self, batch: Sequence[int]) -> Tensor:
        """Draws from the start of the ensemble, of shape ``(*batch, *shape)``: here from noise, after a spin-up."""
        return self.advance(randn(*batch, *self.shape), round(self.spinup / self.dt))

    def tendency(self, x: Tensor) -> Tensor:
        """The right-hand side of the equation, for any batch; it writes nothing in place."""
        forcing = torch.as_tensor(self.forcing, dtype=x.dtype, device=x.device)[..., None, None]
        return (x.roll(-1, -1) - x.roll(2, -1)) * x.roll(1, -1) - x + forcing

    def step(self, x: Tensor) -> Tensor:
        """Advances states by ``dt``."""
        return rk4(self.tendency, x, self.dt)
'''

METHOD = '''\
"""{title}, a method: `methods: {{mine: {{kind: "{module}:{cls}"}}}}` in an experiment takes it."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from posterity.problems import Control, Ensemble, Joint, Posterior, Problem, Window, decode_ensemble


@dataclass(frozen=True)
class {cls}(Posterior):
    """{title}: prior draws, resampled by how likely they make the observations. Put your method here.

    Args:
        problem: The problem.
        draws: The number of prior draws per case that are weighted.
    """

    # The priors that it targets, and whether it needs a background; `differentiates` would name what it differentiates.
    joints: ClassVar[tuple[Joint, ...]] = ("background",)
    needs_background: ClassVar[bool] = True

    # The problem comes first, then the options.
    problem: Problem
    draws: int = 1000

    def sample_cases(self, window: Window, samples: int) -> Ensemble:
        """Draws from the posterior of each case; it sees the window alone, never the truth."""
        # The control is the whitened vector u of all that is unknown: log p(u | y) = -|u|² / 2 - misfit(u) + constant.
        control = Control(self.problem, window)
        u = control.prior(self.draws)
        # Draws that diverge weigh nothing; where all of them do, any may be chosen, and `decode_ensemble` counts them.
        weight = torch.softmax((-control.misfit(u)).nan_to_num(nan=-torch.inf), dim=0).nan_to_num(nan=1.0)
        index = torch.multinomial(weight.mT, samples, replacement=True).mT
        chosen = u.gather(0, index.unsqueeze(-1).expand(*index.shape, control.size))
        # What it says of itself goes into files as `info_ess`.
        return decode_ensemble(control, chosen, {{"ess": 1 / weight.square().sum(dim=0)}})
'''


def new(what: What, name: str) -> Iterator[str]:
    """Writes a commented file to begin with.

    Args:
        what: An experiment, a system or a method.
        name: Its name: that of the file.

    Yields:
        What was written, and what to do next.

    Raises:
        ConfigError: If there is such a file already, or the name is none.
    """
    if what == "experiment":
        if not is_name(name):
            raise ConfigError(f"'{name}' is no name of an experiment: those are made of {LETTERS}")
        path = files.EXPERIMENTS / f"{name}.yaml"
        _written(path, EXPERIMENT.format(name=name))
        yield f"{path}: written. Next:"
        yield f"  posterity check {name}"
        yield f"  posterity run {name}"
        return
    words = re.findall(r"[A-Za-z0-9]+", name)
    module = "_".join(words).lower()
    if not module.isidentifier() or keyword.iskeyword(module):
        raise ConfigError(f"'{name}' cannot name a module of Python: begin with a letter, as in my-{what}")
    cls = "".join(word[:1].upper() + word[1:] for word in words)
    path = Path(f"{module}.py")
    template = SYSTEM if what == "system" else METHOD
    _written(path, template.format(title=" ".join(words), module=module, cls=cls))
    key = f'{{kind: "{module}:{cls}"}}'
    yield f"{path}: written. In an experiment of this folder it is"
    yield f"  system: {key}" if what == "system" else f"  methods: {{mine: {key}}}"
    yield "posterity check then tries it. Other folders take it from a package (docs/extending.md)."


def _written(path: Path, text: str) -> None:
    """Writes a file that is not there yet."""
    if path.exists():
        raise ConfigError(f"{path}: is there already; choose another name, or remove it")
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
