"""Networks: maps between fields on periodic grids, or between vectors."""

from .convolution import Convolution
from .embedding import SineEncoding
from .layout import Layout
from .mlp import MLP
from .network import Network
from .residual import ResidualMLP
from .unet import UNet

__all__ = [
    "MLP",
    "Convolution",
    "Layout",
    "Network",
    "ResidualMLP",
    "SineEncoding",
    "UNet",
]
