"""Measures rollouts of Lorenz-96 and their gradients: compiled, by steps of torch, by DAPPER and by JAX.

    python benchmarks/rollouts.py --peers PYTHON [--json FILE]
    python benchmarks/rollouts.py --device cuda [--json FILE]

``PYTHON`` is the interpreter of an environment of its own (``pip install -r benchmarks/requirements/rollouts.txt``);
without it the peers are left out. 40 sites, F = 8, steps of 0.05, twenty of them. All sides run on one thread, in turn,
and CPU seconds are counted, since other programs share the machine. DAPPER works in double precision, and is held
against Posterity's double; all others in single. JAX compiles the loop over steps; of three ways to write the tendency
the fastest counts, for each batch.

On a GPU the sides are the kernel and the steps, in both precisions, by the clock; how far apart their numbers are is
printed first.
"""

import os
import time
from typing import Any

# Before NumPy, torch and JAX are imported: one thread each, so that neither side wins by the other's idle core.
os.environ |= {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}

from turns import Side, parser, serve, spent, take_turns, write

SITES, STEPS, DT = 40, 20, 0.05


def start(members: int) -> Any:
    """States near the attractor, the same for all sides."""
    import numpy as np

    return 3 + 3 * np.random.default_rng(0).standard_normal((members, SITES))


def peer() -> Any:
    """What DAPPER and JAX make of orders."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from dapper.mods.Lorenz96 import step

    def rolled(x: Any) -> Any:
        return (jnp.roll(x, -1, -1) - jnp.roll(x, 2, -1)) * jnp.roll(x, 1, -1) - x + 8

    def padded(x: Any) -> Any:
        ring = jnp.concatenate((x[..., -2:], x, x[..., :1]), -1)
        return (ring[..., 3:] - ring[..., :-3]) * ring[..., 1:-2] - x + 8

    def members_last(x: Any) -> Any:
        ring = jnp.concatenate((x[-2:], x, x[:1]))
        return (ring[3:] - ring[:-3]) * ring[1:-2] - x + 8

    def path(f: Any, x: Any) -> Any:
        def onward(x: Any, _: Any) -> tuple[Any, Any]:
            k1 = f(x)
            k2 = f(x + DT / 2 * k1)
            k3 = f(x + DT / 2 * k2)
            k4 = f(x + DT * k3)
            x = x + DT / 6 * (k1 + 2 * (k2 + k3) + k4)
            return x, x

        return jax.lax.scan(onward, x, None, length=STEPS)[1]

    ways = {"rolled": rolled, "padded": padded, "members last": members_last}
    runs = {name: jax.jit(lambda x, f=f: path(f, x)) for name, f in ways.items()}
    pulls = {name: jax.jit(lambda x, g, f=f: jax.vjp(lambda x: path(f, x), x)[1](g)[0]) for name, f in ways.items()}

    def answer(order: dict[str, Any]) -> Any:
        x = start(order["members"])
        if order["side"] == "DAPPER":

            def run(x: Any = x) -> Any:
                states = [x]
                for t in range(STEPS):
                    states.append(step(states[-1], t * DT, DT))
                return np.stack(states)

            return spent(run)
        fastest = []
        for name in ways:
            given = jnp.asarray(x.T if name == "members last" else x, dtype=jnp.float32)
            weight = jnp.ones((STEPS, *given.shape), jnp.float32)
            if order["gradient"]:
                call = lambda name=name, given=given, weight=weight: pulls[name](given, weight).block_until_ready()  # noqa: E731
            else:
                call = lambda name=name, given=given: runs[name](given).block_until_ready()  # noqa: E731
            call()
            fastest.append(spent(call, 0.05))
        return min(fastest)

    return answer


def ours(members: int, dtype: Any, gradient: bool, by_steps: bool, device: str = "cpu") -> Any:
    """What runs Posterity's side, once."""
    import torch

    from posterity.systems import Lorenz96

    torch.set_num_threads(1)
    system = Lorenz96(size=SITES, dt=DT)
    x = torch.tensor(start(members), dtype=dtype, device=device).unsqueeze(1)
    weight = torch.ones(members, STEPS + 1, 1, SITES, dtype=dtype, device=device)

    def rollout(x: Any) -> Any:
        if not by_steps:
            return system.rollout(x, STEPS)
        states = [x]
        for _ in range(STEPS):
            states.append(system.step(states[-1]))
        return torch.stack(states, dim=1)

    def run() -> Any:
        if not gradient:
            with torch.no_grad():
                return rollout(x)
        leaf = x.requires_grad_()
        return torch.autograd.grad(rollout(leaf), leaf, weight)[0]

    return run


def timed(*arguments: Any) -> Any:
    """What measures it, in CPU seconds."""
    run = ours(*arguments)
    return lambda: spent(run)


def on_a_gpu(device: str, repeats: int) -> list[dict[str, Any]]:
    """Kernels beside steps: how far apart their numbers are, and how long they take."""
    import torch

    rows: list[dict[str, Any]] = []
    for dtype, gradient in ((d, g) for d in (torch.float32, torch.float64) for g in (False, True)):
        what = f"{'gradient' if gradient else 'rollout'} in {dtype}"
        found, expected = (ours(512, dtype, gradient, by_steps, device)() for by_steps in (False, True))
        distance = float((found - expected).abs().max() / expected.abs().max())
        print(f"{what}: the kernel is {distance:.1e} from the steps, of the largest number")
        rows.append({"what": what, "distance": distance})
        for members in (1, 32, 512, 8192, 65536):
            sides = {}
            for name, by_steps in (("kernel", False), ("by steps", True)):
                run = ours(members, dtype, gradient, by_steps, device)

                def measure(run: Any = run) -> float:
                    """Until the device has done it."""
                    return spent(lambda: (run(), torch.cuda.synchronize(device)), clock=time.perf_counter)

                sides[name] = measure
            rows.append(take_turns(sides, repeats, f"{what}, {members} members"))
    return rows


def peak_share() -> float:
    """The share of fused multiply–adds of one core that a rollout in the first cache reaches, in single precision.

    The peak is that of a loop of independent multiply–adds in registers, measured between rollouts.
    """
    import numpy as np
    import torch
    from numba import njit

    from posterity.systems import Lorenz96
    from posterity.systems.compiled.lanes import BYTES, load, spread, store

    @njit
    def multiply_add(x: Any, count: int) -> None:
        lanes = BYTES // x.itemsize
        a = spread(np.float32(0.999))
        b, c, d, e, f, g, h, i, j, k = (
            load(x, 0), load(x, lanes), load(x, 2 * lanes), load(x, 3 * lanes), load(x, 4 * lanes),
            load(x, 5 * lanes), load(x, 6 * lanes), load(x, 7 * lanes), load(x, 8 * lanes), load(x, 9 * lanes),
        )  # fmt: skip
        for _ in range(count):
            b, c, d, e, f = a + a * b, a + a * c, a + a * d, a + a * e, a + a * f
            g, h, i, j, k = a + a * g, a + a * h, a + a * i, a + a * j, a + a * k
        store(x, 0, b + c + d + e + f + g + h + i + j + k)

    torch.set_num_threads(1)
    x = np.zeros(10 * BYTES, np.float32)
    system, states = (
        Lorenz96(size=SITES, substeps=100, dt=DT),
        torch.tensor(start(16), dtype=torch.float32).unsqueeze(1),
    )
    multiply_add(x, 1)
    system.rollout(states, STEPS)
    shares = []
    for _ in range(5):
        begin = time.process_time()
        multiply_add(x, 10**7)
        peak = 2 * 10 * 16 * 10**7 / (time.process_time() - begin)
        # Tendency, sum and argument of the next stage: eight operations for each site and stage.
        shares.append(8 * 4 * SITES * 16 * 100 * STEPS / spent(lambda: system.rollout(states, STEPS)) / peak)
    return sorted(shares)[2]


def main() -> None:
    """Prints all of it."""
    options = parser(__doc__, "DAPPER and JAX")
    options.add_argument("--device", default="cpu", help="a GPU to measure kernels on, as torch names it")
    arguments = options.parse_args()
    if arguments.serve:
        serve(peer())
        return
    if arguments.device != "cpu":
        write(arguments.json, on_a_gpu(arguments.device, arguments.repeats))
        return
    import torch

    side = Side(arguments.peers, __file__, "--serve") if arguments.peers else None
    rows = []
    for members in (1, 32, 512, 8192):
        sides = {
            "compiled": timed(members, torch.float32, True, False),
            "by steps": timed(members, torch.float32, True, True),
        }
        if side is not None:
            sides["JAX"] = lambda m=members: side(side="JAX", members=m, gradient=True)
        rows.append(take_turns(sides, arguments.repeats, f"gradient, {members} members"))
    for members in (1, 32, 1024):
        sides = {
            "compiled": timed(members, torch.float32, False, False),
            "by steps": timed(members, torch.float32, False, True),
        }
        if side is not None:
            sides["JAX"] = lambda m=members: side(side="JAX", members=m, gradient=False)
        rows.append(take_turns(sides, arguments.repeats, f"rollout, {members} members"))
        if side is not None:
            sides = {
                "compiled": timed(members, torch.float64, False, False),
                "DAPPER": lambda m=members: side(side="DAPPER", members=m),
            }
            rows.append(take_turns(sides, arguments.repeats, f"rollout in double precision, {members} members"))
    share = peak_share()
    print(f"share of the peak of one core: {share:.0%}")
    write(arguments.json, [*rows, {"what": "share of the peak", "share": share}])


if __name__ == "__main__":
    main()
