"""Networks that know nothing of data assimilation."""

from .convolution import Convolution
from .embedding import SineEncoding
from .flow import ConditionalFlow, Flow
from .mlp import MLP
from .multiscale import MultiScale
from .network import Network
from .unet import UNet

__all__ = ["MLP", "ConditionalFlow", "Convolution", "Flow", "MultiScale", "Network", "SineEncoding", "UNet"]
