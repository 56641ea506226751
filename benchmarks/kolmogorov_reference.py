"""Prints what an independent solver makes of a Kolmogorov flow in one time unit: the constants of a test.

    PYTHON benchmarks/kolmogorov_reference.py

``PYTHON`` is the interpreter of an environment of its own (``pip install -r benchmarks/requirements/exponax.txt``). The
flow is SDA's (Reynolds number 1000, drag 0.1, forcing sin 4y) from five waves. exponax keeps the waves up to
⌊2/3 · 24⌋ − 1 = 15 of a grid of 48 points, as the 2/3 rule 3 k < n does, so that both solve the same equations. Its
stream function is the inverse Laplacian of the vorticity, which makes that ∂u/∂y − ∂v/∂x, and its forcing −sin 4y in u:
the mirror image of ours, shifted by half a period of the forcing. Printed is our vorticity, ∂v/∂x − ∂u/∂y, at every
eighth point, rows along y, in double precision.
"""

import exponax
import jax
import jax.numpy as jnp
import numpy as np

POINTS, STEPS = 48, 400
#: Wave numbers along x and y, amplitude and phase of the first vorticity.
WAVES = ((1, 2, 4.0, 0.3), (3, -1, 5.0, 1.1), (2, 3, -4.0, 2.0), (0, 4, 3.0, 0.7), (5, 1, 2.0, 0.2))


def main() -> None:
    """Runs the solver, and prints rows of numbers."""
    jax.config.update("jax_enable_x64", True)
    stepper = exponax.stepper.KolmogorovFlowVorticity(
        2, 2 * np.pi, POINTS, 1 / STEPS, diffusivity=1e-3, drag=-0.1, injection_mode=4, order=4
    )
    # Its first axis is x. Half a period of the forcing is an eighth of the grid.
    x, y = np.meshgrid(*2 * [2 * np.pi / POINTS * np.arange(POINTS)], indexing="ij")
    first = sum(a * np.cos(k * x + m * y + phase) for k, m, a, phase in WAVES)
    image = -np.roll(first, POINTS // 8, axis=1)
    last = jax.jit(exponax.repeat(stepper, STEPS))(jnp.array(image[None]))
    for row in -np.roll(np.asarray(last)[0], -POINTS // 8, axis=1).T[::8, ::8]:
        print("    (" + ", ".join(f"{value:.7f}" for value in row) + "),")


if __name__ == "__main__":
    main()
