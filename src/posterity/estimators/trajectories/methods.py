"""Score-based data assimilation, with known parameters, with parameters of every state, and with shared ones."""

from torch import Tensor

from .score import TrajectoryScore


class SharedSOSDA(TrajectoryScore):
    """Shared."""

    def __init__(self, problem, order=1, network=None, schedule=None, times=0, crops=1, separator=None) -> None:
        super().__init__(problem, order, network, schedule, times, crops, separator=separator or order+1)

    @property
    def numbers(self) -> int:
        """As many as there are."""
        return len(self.problem.parameters)

    def beside(self, v: Tensor) -> Tensor:
        """Themselves."""
        return v

    def sample_cases(self, window, samples):
        raise NotImplementedError
