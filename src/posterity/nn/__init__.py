"""Networks that know nothing of data assimilation."""

from .flow import ConditionalFlow, Flow
from .network import Network

__all__ = ["ConditionalFlow", "Flow", "Network"]
