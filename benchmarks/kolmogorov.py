"""Measures the Kolmogorov flow beside exponax, jax-cfd and torch-cfd, and its gradient beside eager autograd's.

    python benchmarks/kolmogorov.py --exponax PYTHON --jax-cfd PYTHON --torch-cfd PYTHON

Each ``PYTHON`` is the interpreter of an environment of its own (``pip install -r benchmarks/requirements/exponax.txt``,
and so on; ``torch_cfd.txt`` beside torch); a peer that is not named is left out. All solve the same flow (Reynolds
number 1000, drag 0.1, forcing sin 4y) from the same spun-up states, in single precision on one thread, and keep the
vorticity in Fourier space over the steps: exponax by ETDRK4 (``order=4``), jax-cfd and torch-cfd by their spectral
Runge-Kutta and Crank-Nicolson schemes (``crank_nicolson_rk4``, ``RK4CrankNicolsonStepper``). Equal accuracy: as few
steps as keep the relative error of the vorticity below 1e-3 after one time unit, against the same solver with many.
Rates are CPU seconds, since other programs share the machine; the sides run in turn.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

# Before NumPy, torch and JAX are imported: one thread each, so that neither side wins by the other's idle core.
os.environ |= {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}

from turns import Side, serve, spent, take_turns, write

TARGET = 1e-3
#: Numbers of steps per time unit to choose from, about a tenth apart.
STEPS = [round(10 * 1.1**i) for i in range(60)]

#: Advances the start by a number of steps of a length.
Run = Callable[[int, float], Any]


def ours(size: int, start: Any) -> tuple[Run, Callable[[Any], Any]]:
    """Posterity's flow: states and fields are tensors."""
    import torch

    from posterity.systems import Kolmogorov
    from posterity.systems.spectral import analysed, synthesised

    torch.set_num_threads(1)
    x = torch.tensor(start, dtype=torch.float32)
    of_grid = Kolmogorov(size=size).model.fine
    waves = analysed(x, of_grid.largest[1])
    waves[..., of_grid.largest[0] + 1 : size - of_grid.largest[0], :] = 0
    velocity = of_grid.flow(waves)

    def run(steps: int, h: float) -> Any:
        with torch.inference_mode():
            return Kolmogorov(size=size, dt=steps * h, substeps=steps).advance(velocity, 1)

    def field(x: Any) -> Any:
        w = of_grid.vorticity(x)
        w[..., 0, 0] = 0
        return synthesised(w, size).numpy()

    return run, field


def exponax(size: int, start: Any) -> tuple[Run, Callable[[Any], Any]]:
    """exponax, whose vorticity has the other sign: half a period of the forcing further on."""
    from functools import cache

    import exponax
    import jax
    import jax.numpy as jnp
    import numpy as np

    x = jnp.array(-np.roll(np.array(start, dtype=np.float32), size // 8, axis=-2).swapaxes(-1, -2)[:, None])

    @cache
    def stepper(steps: int, h: float) -> Any:
        one = exponax.stepper.KolmogorovFlowVorticity(
            2, 2 * np.pi, size, h, diffusivity=1e-3, drag=-0.1, injection_mode=4, order=4
        )
        return jax.jit(jax.vmap(exponax.RepeatedStepper(one, steps)))

    def field(x: Any) -> Any:
        return -np.roll(np.asarray(x)[:, 0].swapaxes(-1, -2), -size // 8, axis=-2)

    return lambda steps, h: stepper(steps, h)(x).block_until_ready(), field


def jax_cfd(size: int, start: Any) -> tuple[Run, Callable[[Any], Any]]:
    """jax-cfd's spectral solver, with its scheme of fourth order."""
    from functools import cache

    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax_cfd.base.funcutils import repeated
    from jax_cfd.base.grids import Grid
    from jax_cfd.spectral.equations import ForcedNavierStokes2D
    from jax_cfd.spectral.time_stepping import crank_nicolson_rk4

    # With its drag of 0.1 and its forcing of sin 4y. Its first axis is x.
    flow = ForcedNavierStokes2D(1e-3, Grid((size, size), domain=((0, 2 * np.pi), (0, 2 * np.pi))), smooth=True)
    w = jnp.fft.rfft2(jnp.array(start, dtype=jnp.float32).swapaxes(-1, -2))

    @cache
    def stepper(steps: int, h: float) -> Any:
        return jax.jit(jax.vmap(repeated(crank_nicolson_rk4(flow, h), steps)))

    def field(w: Any) -> Any:
        return np.array(jnp.fft.irfft2(w).swapaxes(-1, -2))

    return lambda steps, h: stepper(steps, h)(w).block_until_ready(), field


def torch_cfd(size: int, start: Any) -> tuple[Run, Callable[[Any], Any]]:
    """torch-cfd's spectral solver, with its default scheme of fourth order."""
    import torch
    from torch_cfd.forcings import KolmogorovForcing
    from torch_cfd.grids import Grid
    from torch_cfd.spectral import NavierStokes2DSpectral, RK4CrankNicolsonStepper

    torch.set_num_threads(1)
    grid = Grid(shape=(size, size), domain=((0, 2 * torch.pi), (0, 2 * torch.pi)))
    forcing = KolmogorovForcing(grid=grid, scale=1, wave_number=4, diam=2 * torch.pi, vorticity=True)
    solver = NavierStokes2DSpectral(
        viscosity=1e-3, grid=grid, drag=0.1, smooth=True, forcing_fn=forcing, step_fn=RK4CrankNicolsonStepper()
    )
    # Its first axis is x.
    w = torch.fft.rfft2(torch.tensor(start, dtype=torch.float32).mT)

    def run(steps: int, h: float) -> Any:
        with torch.inference_mode():
            return solver(w, h, steps)[0]

    return run, lambda w: torch.fft.irfft2(w).mT.numpy()


SIDES = {"posterity": ours, "exponax": exponax, "jax-cfd": jax_cfd, "torch-cfd": torch_cfd}


def answers(side: str) -> Callable[[dict[str, Any]], Any]:
    """What a side makes of orders: a start to go on from, the steps that it needs, and the seconds of some."""
    import numpy as np

    run: Run
    field: Callable[[Any], Any]

    def answer(order: dict[str, Any]) -> Any:
        nonlocal run, field
        if "size" in order:
            run, field = SIDES[side](order["size"], np.load(order["start"])[: order["batch"]])
            return None
        if "many" in order:
            end = field(run(order["many"], 1 / order["many"]))
            np.save(order["end"], end)
            for steps in (n for n in STEPS if n >= order["least"]):
                error = np.linalg.norm(field(run(steps, 1 / steps)) - end) / np.linalg.norm(end)
                if error <= TARGET:
                    break
            return steps, float(error)
        run(order["run"], order["h"])
        before = time.process_time()
        run(order["run"], order["h"])
        return time.process_time() - before

    return answer


def start(size: int, path: str) -> None:
    """Writes vorticities of the attractor that all sides resolve: one, moved by the symmetries of the flow."""
    import numpy as np
    import torch

    from posterity.systems import Kolmogorov
    from posterity.systems.spectral import regridded, synthesised, waves

    torch.manual_seed(0)
    coarse = Kolmogorov(size=64)
    system = Kolmogorov(size=size)
    w = regridded(coarse.model.fine.vorticity(coarse.initial((1,))), 21, size, system.model.fine.largest[1] + 1)
    # From 64 points on, the small scales need a while to fill.
    x = system.advance(system.model.fine.flow(w), 0 if size == 64 else 10)
    kept = waves(size, size, (size // 3 - 1, size // 3 - 1))
    w = kept.vorticity(system.shuffled(x.expand(16, *system.shape)))
    w[..., 0, 0] = 0
    np.save(path, synthesised(w, size).numpy())


def forward(sides: dict[str, Side], repeats: int, sizes: list[int]) -> list[dict[str, Any]]:
    """The steps that all sides need, and their times."""
    import numpy as np

    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            path = f"{folder}/{size}.npy"
            start(size, path)
            steps: dict[str, int] = {}
            for name, side in sides.items():
                side(size=size, start=path, batch=1)
                steps[name], error = side(many=16 * size, least=size // 4, end=f"{folder}/{name}.npy")
                ends = [np.load(f"{folder}/{other}.npy") for other in (name, "posterity")]
                apart = float(np.linalg.norm(ends[0] - ends[1]) / np.linalg.norm(ends[1]))
                rows.append({"points": size, "side": name, "steps": steps[name], "error": error, "apart": apart})
                print(
                    f"{size}², {name}: {steps[name]} steps, error {error:.1e}, from posterity {apart:.1e}", flush=True
                )
            for batch in (1, 16):
                for side in sides.values():
                    side(size=size, start=path, batch=batch)

                turns = {name: partial(time_unit, side, steps[name], batch) for name, side in sides.items()}
                rows.append(take_turns(turns, repeats, f"{size}², a time unit in a batch of {batch}"))
    return rows


def time_unit(side: Side, steps: int, batch: int) -> float:
    """The seconds of a side for a time unit of so many steps, of each trajectory of a batch, from a quarter of it."""
    count = -(-steps // 4)
    return float(side(run=count, h=1 / steps)) / count * steps / batch


def gradients(repeats: int, sizes: list[int]) -> list[dict[str, Any]]:
    """The times of a gradient of a window, and the memory of its tape, against eager autograd."""
    import torch

    from posterity.systems import Kolmogorov

    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for size, steps, batch in ((64, 10, 1), (64, 10, 16), (256, 1, 1), (256, 1, 4)):
        if size not in sizes:
            continue
        system = Kolmogorov(size=size, spinup=0.0)
        x = system.initial((batch,)).requires_grad_()

        def eager(x: torch.Tensor, system: Kolmogorov = system, steps: int = steps) -> torch.Tensor:
            states = [x]
            for _ in range(steps):
                states.append(system.step(states[-1]))
            return torch.stack(states, dim=-4)

        def fused(x: torch.Tensor, system: Kolmogorov = system, steps: int = steps) -> torch.Tensor:
            return system.rollout(x, steps)

        def gradient(rollout: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor = x) -> None:
            torch.autograd.grad(rollout(x).square().sum(), x)

        what = f"gradient, {size}², {steps} states of {system.model.substeps} substeps, batch {batch}"
        sides = {"fused": fused, "eager": eager}
        turns = {name: partial(spent, partial(gradient, rollout)) for name, rollout in sides.items()}
        rows.append(take_turns(turns, repeats, what))
        for name, rollout in sides.items():
            rows.append({"tape of": what, "side": name, "megabytes": tape(partial(rollout, x)) / 1e6})
            print(f"{what}, {name}: a tape of {rows[-1]['megabytes']:.1f} MB", flush=True)
    return rows


def tape(rollout: Callable[[], Any]) -> float:
    """The bytes of all that a rollout keeps for its gradient."""
    import torch

    kept: dict[int, int] = {}

    def note(saved: torch.Tensor) -> torch.Tensor:
        kept[saved.untyped_storage().data_ptr()] = saved.untyped_storage().nbytes()
        return saved

    with torch.autograd.graph.saved_tensors_hooks(note, lambda saved: saved):
        rollout().square().sum()
    return sum(kept.values())


def main() -> None:
    """Prints all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for peer in ("exponax", "jax-cfd", "torch-cfd"):
        parser.add_argument(f"--{peer}", help=f"the interpreter of an environment with {peer}")
    parser.add_argument("--sizes", default="64,256", help="points of an axis, with commas (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each side, in turn (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="where to write what is printed, as JSON")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(answers(arguments.serve))
        return
    pythons = {
        "posterity": sys.executable,
        "exponax": arguments.exponax,
        "jax-cfd": arguments.jax_cfd,
        "torch-cfd": arguments.torch_cfd,
    }
    sides = {name: Side(python, __file__, "--serve", name) for name, python in pythons.items() if python}
    sizes = [int(size) for size in arguments.sizes.split(",")]
    write(arguments.json, forward(sides, arguments.repeats, sizes) + gradients(arguments.repeats, sizes))


if __name__ == "__main__":
    main()
