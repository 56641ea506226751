"""Classification losses for density ratios."""

import abc
from math import log

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


class RatioLoss(abc.ABC):
    r"""Abstract loss that is least for the ratio :math:`r = p / q` of two densities, of which there are draws.

    Args:
        candidates: The number of draws of :math:`q` for each of :math:`p`, where more than one is possible.
    """

    def __init__(self, candidates: int) -> None:
        if candidates < 1:
            raise ValueError(f"candidates: at least one is needed, not {candidates}")
        self.candidates = candidates

    @abc.abstractmethod
    def loss(self, inside: Tensor, outside: Tensor) -> Tensor:
        r"""The loss, averaged over cases.

        Args:
            inside: The log-ratios :math:`\log r` of draws of :math:`p`, with shape ``(case,)``.
            outside: Those of draws of :math:`q`, independent of each other given the case, with shape
                ``(candidates, case)``.

        Returns:
            A scalar.
        """


class BNRELoss(RatioLoss):
    r"""Balanced binary cross-entropy,

    .. math::
        -E_p[\log d] - E_q[\log(1 - d)] + \lambda \left( E_p[d] + E_q[d] - 1 \right)^2, \qquad d = \frac{r}{1 + r} .

    The optimal classifier is balanced, and balanced ones are on average no sharper than it: short trainings, or few
    data, leave posteriors too wide rather than too narrow.

    Args:
        balance: The weight :math:`\lambda` of the penalty; 0 for none. The published one is 100, which leaves short
            trainings very wide.
        candidates: The number of draws of :math:`q` for each of :math:`p`, over which is averaged.

    References:
        | Towards Reliable Simulation-Based Inference with Balanced Neural Ratio Estimation (Delaunoy et al., 2022),
          https://arxiv.org/abs/2208.13624
    """

    def __init__(self, balance: float = 10.0, candidates: int = 1) -> None:
        super().__init__(candidates)
        if balance < 0:
            raise ValueError(f"balance: must not be negative, not {balance}")
        self.balance = balance

    def loss(self, inside: Tensor, outside: Tensor) -> Tensor:
        """The penalised cross-entropy."""
        entropy = -logsigmoid(inside).mean() - logsigmoid(-outside).mean()
        return entropy + self.balance * (inside.sigmoid().mean() + outside.sigmoid().mean() - 1).square()


class NREContrastiveLoss(RatioLoss):
    r"""Contrastive cross-entropy of telling which of :math:`K` draws is of :math:`p`, or that none is,

    .. math::
        -\frac{1}{1 + \gamma} E \log \frac{K}{K + \gamma \sum_k r_k}
        - \frac{\gamma}{1 + \gamma} E \log \frac{\gamma r_1}{K + \gamma \sum_k r_k} .

    More candidates cover more of the neighbourhood of the posterior. Unlike other losses with several candidates, this
    one determines the constant factor of the ratio too.

    Args:
        candidates: The number :math:`K`.
        gamma: The odds :math:`\gamma` that there is a draw of :math:`p`.

    References:
        | Contrastive Neural Ratio Estimation (Miller et al., 2022), https://arxiv.org/abs/2210.06170
    """

    def __init__(self, candidates: int = 4, gamma: float = 1.0) -> None:
        super().__init__(candidates)
        if gamma <= 0:
            raise ValueError(f"gamma: must be positive, not {gamma}")
        self.gamma = gamma

    def loss(self, inside: Tensor, outside: Tensor) -> Tensor:
        """The cross-entropy."""
        shift = log(self.gamma) - log(len(outside))
        none = torch.zeros_like(outside[:1])
        # A draw of p replaces one of the others.
        mixed = torch.cat((inside.unsqueeze(0), outside[1:])) + shift
        found = (mixed[0] - torch.cat((none, mixed)).logsumexp(dim=0)).mean()
        missed = -torch.cat((none, outside + shift)).logsumexp(dim=0).mean()
        return -(missed + self.gamma * found) / (1 + self.gamma)
