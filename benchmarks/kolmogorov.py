"""Measures the Kolmogorov flow beside exponax and torch-cfd, and its gradient beside eager autograd's.

    python benchmarks/kolmogorov.py --exponax PYTHON --torch-cfd PYTHON

Each ``PYTHON`` is the interpreter of an environment of its own (``pip install -r benchmarks/requirements/exponax.txt``,
and ``torch_cfd.txt`` beside torch); a peer that is not named is left out. All solve the same flow (Reynolds number
1000, drag 0.1, forcing sin 4y) from the same spun-up states, in single precision on one thread, and keep the vorticity
in Fourier space over the steps: exponax by ETDRK4 (``order=4``), torch-cfd by its spectral Runge-Kutta and
Crank-Nicolson scheme (``RK4CrankNicolsonStepper``). Equal accuracy: as few steps as keep the relative error of the
vorticity below 1e-3 after one time unit, against the same solver with many. Rates are CPU seconds, since other programs
share the machine; the sides run in turn, and medians and the range of ratios are printed.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

# Before NumPy, torch and JAX are imported: one thread each, so that neither side wins by the other's idle core.
os.environ |= {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}

from turns import Side, serve

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


SIDES = {"posterity": ours, "exponax": exponax, "torch-cfd": torch_cfd}


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


def forward(sides: dict[str, Side], repeats: int) -> None:
    """Prints the steps and the times of all sides."""
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        for size in (64, 256):
            path = f"{folder}/{size}.npy"
            start(size, path)
            steps = {}
            for name, side in sides.items():
                side(size=size, start=path, batch=1)
                steps[name], error = side(many=16 * size, least=size // 4, end=f"{folder}/{name}.npy")
                ends = [np.load(f"{folder}/{other}.npy") for other in (name, "posterity")]
                apart = np.linalg.norm(ends[0] - ends[1]) / np.linalg.norm(ends[1])
                print(
                    f"{size}², {name}: {steps[name]} steps, error {error:.1e}, from posterity {apart:.1e}", flush=True
                )
            for batch in (1, 16):
                times: dict[str, list[float]] = {name: [] for name in sides}
                for side in sides.values():
                    side(size=size, start=path, batch=batch)
                for _ in range(repeats):
                    for name, side in sides.items():
                        # A quarter of a time unit.
                        count = -(-steps[name] // 4)
                        spent = side(run=count, h=1 / steps[name]) / count
                        times[name].append(spent * steps[name] / batch)
                for name, spent in times.items():
                    ratios = [a / b for a, b in zip(spent, times["posterity"], strict=True)]
                    print(
                        f"{size}², batch {batch:2d}, {name:9s} {1e3 * statistics.median(spent):8.2f} ms per time unit, "
                        f"{1e3 * statistics.median(spent) / steps[name]:7.3f} per step; ratio "
                        f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
                        flush=True,
                    )


def gradients(repeats: int) -> None:
    """Prints the times of a gradient of a window, and the memory of its tape, against eager autograd."""
    import torch

    from posterity.systems import Kolmogorov

    torch.set_num_threads(1)
    for size, steps, batch in ((64, 10, 1), (64, 10, 16), (256, 1, 1), (256, 1, 4)):
        system = Kolmogorov(size=size, spinup=0.0)
        x = system.initial((batch,)).requires_grad_()

        def eager(x: torch.Tensor, system: Kolmogorov = system, steps: int = steps) -> torch.Tensor:
            states = [x]
            for _ in range(steps):
                states.append(system.step(states[-1]))
            return torch.stack(states, dim=-4)

        def fused(x: torch.Tensor, system: Kolmogorov = system, steps: int = steps) -> torch.Tensor:
            return system.rollout(x, steps)

        times: dict[str, list[float]] = {"eager": [], "fused": []}
        tapes = {}
        for turn in range(repeats + 1):
            for name, rollout in (("eager", eager), ("fused", fused)):
                kept: dict[int, int] = {}

                def note(saved: torch.Tensor, kept: dict[int, int] = kept) -> torch.Tensor:
                    kept[saved.untyped_storage().data_ptr()] = saved.untyped_storage().nbytes()
                    return saved

                before = time.process_time()
                with torch.autograd.graph.saved_tensors_hooks(note, lambda saved: saved):
                    cost = rollout(x).square().sum()
                torch.autograd.grad(cost, x)
                if turn:
                    times[name].append(time.process_time() - before)
                tapes[name] = sum(kept.values())
        ratios = [a / b for a, b in zip(times["eager"], times["fused"], strict=True)]
        print(
            f"gradient, {size}², {steps} states of {system.model.substeps} substeps, batch {batch}: eager "
            f"{1e3 * statistics.median(times['eager']):.0f} ms and {tapes['eager'] / 1e6:.1f} MB, fused "
            f"{1e3 * statistics.median(times['fused']):.0f} ms and {tapes['fused'] / 1e6:.1f} MB; ratio "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
            flush=True,
        )


def main() -> None:
    """Prints all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exponax", help="the interpreter of an environment with exponax")
    parser.add_argument("--torch-cfd", help="the interpreter of an environment with torch-cfd")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each side, in turn (default: %(default)s)")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(answers(arguments.serve))
        return
    pythons = {"posterity": sys.executable, "exponax": arguments.exponax, "torch-cfd": arguments.torch_cfd}
    sides = {name: Side(python, __file__, "--serve", name) for name, python in pythons.items() if python}
    forward(sides, arguments.repeats)
    gradients(arguments.repeats)


if __name__ == "__main__":
    main()
