r"""Fields on the periodic square :math:`[0, 2\pi)^2` as sums of waves, and what is local there.

Grids have ``height`` rows along :math:`y` and ``width`` columns along :math:`x`; even, odd and non-square ones alike.
Coefficients have shape ``(*batch, rows, columns)``: as many rows as the grid has, in the order of the discrete Fourier
transform, and of the waves along :math:`x` only those from zero to the largest one kept, since fields are real. They do
not depend on the grid: that of the wave zero is the mean.
"""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..tensors import Constant


def resolved(points: int) -> int:
    """The largest wave number below that of Nyquist, whose derivative a grid of so many points cannot tell."""
    return (points - 1) // 2


def alias_free(points: int) -> int:
    r"""The largest wave number whose products leave it unharmed, by the 2/3 rule: :math:`3 k < n`.

    References:
        | On the elimination of aliasing in finite-difference schemes by filtering high-wavenumber components (Orszag,
          1971), https://doi.org/10.1175/1520-0469(1971)028%3C1074:OTEOAI%3E2.0.CO;2
    """
    return (points - 1) // 3


def analysed(x: Tensor, largest: int) -> Tensor:
    """The coefficients of fields.

    Args:
        x: Fields, with shape ``(*batch, height, width)``.
        largest: The largest wave number along the width that is kept, below that of Nyquist.

    Returns:
        The coefficients, with shape ``(*batch, height, largest + 1)``.
    """
    along = torch.fft.rfft(x, norm="forward")
    return torch.fft.fft(along[..., : largest + 1], dim=-2, norm="forward")


def synthesised(waves: Tensor, width: int) -> Tensor:
    """The fields of coefficients, the inverse of :func:`analysed`, with shape ``(*batch, height, width)``."""
    return torch.fft.irfft(torch.fft.ifft(waves, dim=-2, norm="forward"), n=width, norm="forward")


def regridded(waves: Tensor, largest: int, rows: int, columns: int) -> Tensor:
    """Coefficients on another grid: padded with zeros, or truncated; each the adjoint of the other.

    Args:
        waves: The coefficients, with shape ``(*batch, height, columns)``.
        largest: The largest wave number along the rows that is kept, below that of Nyquist of both grids.
        rows: The rows of the other grid.
        columns: The waves along its columns that are kept.

    Returns:
        The coefficients, with shape ``(*batch, rows, columns)``.
    """
    if waves.shape[-2:] == (rows, columns):
        return waves
    waves = waves[..., :columns] if waves.shape[-1] > columns else pad(waves, (0, columns - waves.shape[-1]))
    positive, negative = waves[..., : largest + 1, :], waves[..., waves.shape[-2] - largest :, :]
    between = waves.new_zeros(*waves.shape[:-2], rows - 2 * largest - 1, columns)
    return torch.cat((positive, between, negative), dim=-2)


class Waves:
    r"""The waves :math:`e^{i (k_x x + k_y y)}` of a grid up to a largest wave number per axis, and what they turn to.

    A velocity without divergence is a vorticity and a mean, :math:`\hat\omega = i k_x \hat v - i k_y \hat u`. The
    vorticity has no mean of its own: the place of its wave zero holds the mean velocity instead, as :math:`\bar u + i
    \bar v`. So velocities and vorticities are products of coefficients with constants, without exceptions.

    Args:
        height: The rows of the grid.
        width: Its columns.
        largest: The largest wave numbers kept, along rows and columns.
    """

    def __init__(self, height: int, width: int, largest: tuple[int, int]) -> None:
        self.height, self.width, self.largest = height, width, largest
        rows = torch.fft.fftfreq(height, 1 / height, dtype=torch.float64, device="cpu").round()[:, None]
        columns = torch.arange(largest[1] + 1, dtype=torch.float64, device="cpu")
        y, x = torch.broadcast_tensors(rows, columns)
        kept = (y.abs() <= largest[0]).to(torch.float64)
        square = y.square() + x.square()
        mean = square == 0
        inverse = torch.where(mean, 0, 1 / torch.where(mean, 1, square))
        curl = 1j * torch.stack((-y, x))
        curl[:, 0, 0] = torch.tensor([1, 1j], dtype=curl.dtype, device="cpu")
        velocity = 1j * torch.stack((y, -x)) * inverse
        velocity[:, 0, 0] = torch.tensor([1, -1j], dtype=curl.dtype, device="cpu")
        #: Wave numbers along rows and columns, with shapes ``(rows, 1)`` and ``(columns,)``.
        self.rows, self.columns = Constant(rows), Constant(columns)
        #: From velocities to vorticities, a sum over components, and back, with shape ``(2, rows, columns)``.
        self.curl, self.velocity = Constant(kept * curl), Constant(kept * velocity)
        #: From :math:`uv` and :math:`v^2 - u^2` to the advection of vorticity, :func:`advection`.
        self.stresses = Constant((kept * torch.stack((x.square() - y.square(), x * y))).to(curl.dtype))
        #: The conjugates of the first two, which are their adjoints.
        self.scatter, self.gather = Constant(kept * curl.conj().resolve_conj()), Constant(kept * velocity.conj())
        #: How often each coefficient stands in the whole plane of waves, once or, with its conjugate, twice.
        self.weights = Constant(torch.where(columns == 0, 1.0, 2.0).to(curl.dtype))

    def vorticity(self, velocity: Tensor) -> Tensor:
        """The coefficients of the vorticity of a velocity, without its divergence and the waves that are not kept.

        Args:
            velocity: Velocities on the grid, with shape ``(*batch, 2, height, width)``.

        Returns:
            The coefficients, with shape ``(*batch, rows, columns)``.
        """
        waves = analysed(velocity, self.largest[1])
        return (self.curl.like(waves) * waves).sum(dim=-3)

    def flow(self, vorticity: Tensor) -> Tensor:
        """The velocity on the grid, with shape ``(*batch, 2, height, width)``, of coefficients of a vorticity."""
        return synthesised(self.velocity.like(vorticity) * vorticity.unsqueeze(-3), self.width)

    def advection(self, flow: Tensor) -> Tensor:
        r"""The tendency of the vorticity that a flow carries along, :math:`-u \cdot \nabla \omega`.

        As the curl of the divergence of the stresses, :math:`(\partial_y^2 - \partial_x^2)\, uv + \partial_x \partial_y
        (u^2 - v^2)`: two transforms, where the product with the gradient has three.

        Args:
            flow: Velocities on the grid, with shape ``(*batch, 2, height, width)``.

        Returns:
            The coefficients, with shape ``(*batch, rows, columns)``.
        """
        u, v = flow.unbind(dim=-3)
        waves = analysed(torch.stack((u * v, (v - u) * (v + u)), dim=-3), self.largest[1])
        return (self.stresses.like(waves) * waves).sum(dim=-3)

    def tangent(self, flow: Tensor, dw: Tensor) -> Tensor:
        """The tangent of :meth:`advection` after :meth:`flow`, at a flow, for the tangent of the vorticity."""
        (u, v), (du, dv) = flow.unbind(dim=-3), self.flow(dw).unbind(dim=-3)
        waves = analysed(torch.stack((u * dv + v * du, 2 * (v * dv - u * du)), dim=-3), self.largest[1])
        return (self.stresses.like(waves) * waves).sum(dim=-3)

    def adjoint(self, flow: Tensor, dk: Tensor) -> Tensor:
        """The adjoint of :meth:`advection` after :meth:`flow`, at a flow, for the mean of products over the grid.

        Args:
            flow: Velocities on the grid, with shape ``(*batch, 2, height, width)``.
            dk: Coefficients of the cotangent, with shape ``(*batch, rows, columns)``.

        Returns:
            The coefficients of that of the vorticity.
        """
        (u, v), (p, q) = flow.unbind(dim=-3), self.spread(dk).unbind(dim=-3)
        du, dv = torch.mul(v, p).addcmul_(u, q, value=-2), torch.mul(u, p).addcmul_(v, q, value=2)
        return self.gathered(torch.stack((du, dv), dim=-3))

    def spread(self, vorticity: Tensor) -> Tensor:
        """From a cotangent of the advection to those of the two stresses on the grid."""
        return synthesised(self.stresses.like(vorticity) * vorticity.unsqueeze(-3), self.width)

    def gathered(self, velocity: Tensor) -> Tensor:
        """The adjoint of :meth:`flow`, for the mean of products over the grid."""
        waves = analysed(velocity, self.largest[1])
        return (self.gather.like(waves) * waves).sum(dim=-3)

    def scattered(self, vorticity: Tensor) -> Tensor:
        """The adjoint of :meth:`vorticity`, for the mean of products over the grid."""
        return synthesised(self.scatter.like(vorticity) * vorticity.unsqueeze(-3), self.width)


@lru_cache(maxsize=32)
def waves(height: int, width: int, largest: tuple[int, int]) -> Waves:
    """The waves of a grid, made once: systems with other parameters share them."""
    # Gradients pass through what they are multiplied with, which tensors made in inference mode do not allow.
    with torch.inference_mode(False):
        return Waves(height, width, largest)


def solenoidal(velocity: Tensor) -> Tensor:
    """Velocities without their divergence, and without waves at the grid's limit, whose curl it cannot tell.

    Args:
        velocity: Velocities, with shape ``(*batch, 2, height, width)``.

    Returns:
        The orthogonal projection, with the same shape.
    """
    height, width = velocity.shape[-2:]
    of_grid = waves(height, width, (resolved(height), resolved(width)))
    return of_grid.flow(of_grid.vorticity(velocity))
