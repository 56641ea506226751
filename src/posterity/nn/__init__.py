"""Networks that know nothing of data assimilation."""

from .convolution import Convolution
from .embedding import SineEncoding
from .flow import ConditionalFlow, Flow
from .mlp import MLP
from .multiscale import MultiScale
from .network import Network
from .unet import UNet
from .vector import AutoregressiveSpline, CouplingSpline, MaskedAutoregressive

__all__ = [
    "MLP",
    "AutoregressiveSpline",
    "ConditionalFlow",
    "Convolution",
    "CouplingSpline",
    "Flow",
    "MaskedAutoregressive",
    "MultiScale",
    "Network",
    "SineEncoding",
    "UNet",
]
