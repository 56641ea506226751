"""Variables of files as tensors, each held against the problem that it is of."""

import torch
import xarray as xr
from torch import Tensor

from ..errors import DataError
from ..problems import Problem
from ..tensors import append_dims


def parameters(dataset: xr.Dataset, problem: Problem, source: str, device: torch.device | str) -> Tensor:
    """Reads the true parameters, in the order of the problem."""
    if not problem.parameters:
        return torch.zeros(dataset.sizes["case"], 0, device=device)
    wanted = list(problem.parameters)
    if "theta" not in dataset:
        raise DataError(f"{source}: variable 'theta' is missing; add it, with the parameters {', '.join(wanted)}")
    if "parameter" in dataset.coords:
        names = [str(name) for name in dataset["parameter"].values]
        if sorted(names) != sorted(wanted):
            raise DataError(
                f"{source}: 'theta' holds the parameters {', '.join(names)}; those of the experiment are "
                f"{', '.join(wanted)}; name them so in the coordinate 'parameter', or leave 'theta' out"
            )
        dataset = dataset.isel(parameter=[names.index(name) for name in wanted])
    return sized(dataset, "theta", (len(problem.parameters),), source, device)


def starts(dataset: xr.Dataset, problem: Problem, source: str, device: torch.device | str) -> Tensor:
    """Reads the times at which windows start; zero if there is only one."""
    if "start" in dataset:
        return sized(dataset, "start", (), source, device)
    if problem.start[1]:
        first, last = problem.start
        raise DataError(
            f"{source}: variable 'start' is missing; add the step at which each window starts, {first} to {last}"
        )
    return torch.zeros(dataset.sizes["case"], device=device)


def backgrounds(
    dataset: xr.Dataset, problem: Problem, source: str, device: torch.device | str
) -> tuple[Tensor, Tensor]:
    """Reads backgrounds and their standard deviations; NaN where a case, or file and problem, have none."""
    if "background" not in dataset:
        if problem.has_background:
            raise DataError(
                f"{source}: variable 'background' is missing; the experiment's prior is a background, so add it"
            )
        nothing = torch.full((dataset.sizes["case"], *problem.shape), torch.nan, device=device)
        return nothing, nothing
    if "background_std" not in dataset:
        raise DataError(f"{source}: has 'background' without 'background_std'; add its standard deviations")
    background = sized(dataset, "background", problem.shape, source, device)
    std = sized(dataset, "background_std", problem.shape, source, device)
    lost = append_dims(background.flatten(1).isnan().all(dim=1), background.ndim - 1)
    if (wrong := ~background.isfinite() & ~lost).any():
        raise DataError(
            f"{source}: 'background' is not finite at {place(wrong)}; fill it in, or give that case none, NaN alone"
        )
    if (wrong := ~((std > 0) & std.isfinite()) & ~lost).any():
        raise DataError(
            f"{source}: 'background_std' must be positive and finite; it is not at {place(wrong)}; correct it there"
        )
    return background, torch.where(lost, torch.nan, std)


def sized(dataset: xr.Dataset, name: str, shape: tuple[int, ...], source: str, device: torch.device | str) -> Tensor:
    """Reads a variable whose shape, behind ``case``, must be the problem's."""
    sizes = list(dataset[name].sizes.items())[1:]
    if tuple(size for _, size in sizes) == shape:
        return _tensor(dataset[name], device)
    if len(sizes) == len(shape):
        wrong = [(*found, wanted) for found, wanted in zip(sizes, shape, strict=True) if found[1] != wanted]
        found, wanted = (", ".join(f"{part[0]} {part[place]}" for part in wrong) for place in (1, 2))
    else:
        found, wanted = ", ".join(f"{dimension} {size}" for dimension, size in sizes), " × ".join(map(str, shape))
    raise DataError(f"{source}: '{name}' has {found}; the experiment's problem has {wanted}; make them equal")


def place(wrong: Tensor) -> str:
    """The place of the first offending entry, for a message."""
    return "index (" + ", ".join(map(str, wrong.nonzero()[0].tolist())) + ")"


def _tensor(variable: xr.DataArray, device: torch.device | str) -> Tensor:
    """A variable as a tensor, in torch's default dtype."""
    return torch.as_tensor(variable.to_numpy(), dtype=torch.get_default_dtype(), device=device)
