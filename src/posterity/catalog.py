"""Names and what they stand for: the only such table. Nothing is imported until it is asked for."""

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from .errors import ConfigError, nearest

#: Groups of components, each a table from kind to ``module:Class``. A constructor's parameter that is named like a
#: group (``family``, ``optimizer``, ``proposal``) takes a component of that group.
CATALOG: Mapping[str, Mapping[str, str]] = {
    "system": {
        "linear": "posterity.systems.linear:LinearAdvection",
        "lorenz63": "posterity.systems.lorenz63:Lorenz63",
        "lorenz96": "posterity.systems.lorenz96:Lorenz96",
        "lorenz96-two-scale": "posterity.systems.lorenz96_two_scale:TwoScaleLorenz96",
    },
    "operator": {
        "identity": "posterity.problems.operators:Identity",
        "pointwise": "posterity.problems.operators:Pointwise",
        "quadratic": "posterity.problems.operators:Quadratic",
        "stations": "posterity.problems.operators:GaussianStations",
    },
    "mask": {
        "grid": "posterity.problems.masks:GridMask",
        "random": "posterity.problems.masks:RandomMask",
        "times": "posterity.problems.masks:TimeMask",
    },
    "prior": {
        "log-normal": "posterity.problems.parameters:LogNormal",
        "normal": "posterity.problems.parameters:Normal",
        "uniform": "posterity.problems.parameters:Uniform",
    },
    "method": {
        "3dvar": "posterity.baselines.threedvar:ThreeDVar",
        "4dvar": "posterity.baselines.fourdvar:FourDVar",
        "abc": "posterity.baselines.abc:RejectionABC",
        "amortised-vi": "posterity.estimators.avi:AmortizedVariational",
        "climatology": "posterity.baselines.climatology:Climatology",
        "composed-score": "posterity.estimators.composed:ComposedScore",
        "dpe": "posterity.estimators.dpe:DirectPosterior",
        "enkf": "posterity.baselines.enkf:StochasticEnKF",
        "enks": "posterity.baselines.enks:EnKS",
        "ensemble-4dvar": "posterity.baselines.ensemble_fourdvar:EnsembleFourDVar",
        "exact": "posterity.baselines.exact:Exact",
        "etkf": "posterity.baselines.etkf:ETKF",
        "fmpe": "posterity.estimators.fmpe:FlowMatching",
        "hmc": "posterity.baselines.hmc:HamiltonianMonteCarlo",
        "ienks": "posterity.baselines.ienks:IEnKS",
        "importance": "posterity.baselines.importance:ImportanceSampling",
        "lagged-4dvar": "posterity.baselines.lagged:LaggedFourDVar",
        "letkf": "posterity.baselines.letkf:LETKF",
        "npe": "posterity.estimators.npe:NeuralPosterior",
        "nre": "posterity.estimators.nre:NeuralRatio",
        "nse": "posterity.estimators.nse:NeuralScore",
        "particle-filter": "posterity.baselines.particle:ParticleFilter",
        "particle-smoother": "posterity.baselines.particle:ParticleSmoother",
        "prior": "posterity.baselines.prior:Prior",
        "smc": "posterity.baselines.smc:SequentialMonteCarlo",
        "vi": "posterity.baselines.vi:VariationalInference",
    },
    "family": {
        "block-tridiagonal": "posterity.baselines.markov:BlockTridiagonal",
        "flow": "posterity.baselines.flow:Flow",
        "full": "posterity.baselines.families:Full",
        "low-rank": "posterity.baselines.families:LowRank",
        "mean-field": "posterity.baselines.families:MeanField",
        "mean-field-trajectory": "posterity.baselines.markov:TrajectoryMeanField",
    },
    "figure": {
        "accuracy_cost": "posterity.figures.accuracy_cost:accuracy_cost",
        "corner": "posterity.figures.corner:corner",
        "covariance": "posterity.figures.covariance:covariance",
        "coverage": "posterity.figures.coverage:coverage",
        "cycle": "posterity.figures.cycle:cycle",
        "data": "posterity.figures.data:data",
        "expected_coverage": "posterity.figures.expected_coverage:expected_coverage",
        "hovmoller": "posterity.figures.hovmoller:hovmoller",
        "optimisation": "posterity.figures.optimisation:optimisation",
        "parameters": "posterity.figures.parameters:parameters",
        "ranks": "posterity.figures.ranks:ranks",
        "reference": "posterity.figures.reference:reference",
        "roc": "posterity.figures.roc:roc",
        "scores": "posterity.figures.scores:scores",
        "table": "posterity.figures.table:table",
        "training": "posterity.figures.training:training",
        "trajectories": "posterity.figures.trajectories:trajectories",
    },
    "flow": {
        "coupling-spline": "posterity.nn.vector:CouplingSpline",
        "delta": "posterity.estimators.gaussians:Delta",
        "diagonal-gaussian": "posterity.estimators.gaussians:DiagonalGaussian",
        "full-gaussian": "posterity.estimators.gaussians:FullGaussian",
        "maf": "posterity.nn.vector:MaskedAutoregressive",
        "multiscale": "posterity.nn.multiscale:MultiScale",
        "nsf": "posterity.nn.vector:AutoregressiveSpline",
    },
    "guidance": {
        "dps": "posterity.estimators.guidance:DPSGuidance",
        "moment-matching": "posterity.estimators.guidance:MomentMatching",
        "sda": "posterity.estimators.guidance:SDAGuidance",
    },
    "network": {
        "convolution": "posterity.nn.convolution:Convolution",
        "mlp": "posterity.nn.mlp:MLP",
        "unet": "posterity.nn.unet:UNet",
    },
    "contrast": {
        "balanced": "posterity.estimators.contrast:Balanced",
        "contrastive": "posterity.estimators.contrast:Contrastive",
    },
    "walk": {
        "hmc": "posterity.estimators.walks:TemperedWalk",
        "importance": "posterity.estimators.walks:WeightedNoise",
    },
    "refinement": {
        "hmc": "posterity.estimators.refinement:Hamiltonian",
        "importance": "posterity.estimators.refinement:Importance",
    },
    "target": {
        "control": "posterity.estimators.target:ControlTarget",
        "state": "posterity.estimators.target:StateTarget",
    },
    "sampler": {
        "ancestral": "posterity.estimators.samplers:Ancestral",
        "heun": "posterity.estimators.samplers:Heun",
        "predictor-corrector": "posterity.estimators.samplers:PredictorCorrector",
    },
    "schedule": {
        "cosine": "posterity.estimators.diffusion:Cosine",
        "linear": "posterity.estimators.diffusion:LinearBeta",
        "variance-exploding": "posterity.estimators.diffusion:VarianceExploding",
    },
    "decay": {
        "constant": "posterity.estimators.decay:constant",
        "cosine": "posterity.estimators.decay:cosine",
        "linear": "posterity.estimators.decay:linear",
    },
    "optimizer": {
        "adam": "posterity.baselines.optimizers:Adam",
        "natural-gradient": "posterity.baselines.optimizers:NaturalGradient",
    },
    "proposal": {
        "laplace": "posterity.baselines.proposals:Laplace",
        "variational": "posterity.baselines.proposals:Variational",
    },
}

#: Entry points through which other packages add to a group.
ENTRY_POINTS = {"system": "posterity.systems", "method": "posterity.methods"}


def names(group: str) -> dict[str, str]:
    """The kinds of a group, with the ``module:Class`` that each stands for: our own, and new ones of other packages."""
    found = dict[str, str]()
    if group in ENTRY_POINTS:
        found |= {point.name: point.value for point in entry_points(group=ENTRY_POINTS[group])}
    found |= CATALOG[group]
    return dict(sorted(found.items()))


def target(group: str, kind: str) -> str:
    """What a kind stands for.

    Args:
        group: The group.
        kind: A name of the group, or ``module:Class`` itself.

    Returns:
        The ``module:Class``.

    Raises:
        ConfigError: If the group has no such kind.
    """
    if ":" in kind:
        return kind
    # To ask what other packages bring takes milliseconds, and workflows ask a thousand times.
    known = CATALOG[group] if kind in CATALOG[group] else names(group)
    if kind not in known:
        raise ConfigError(f"unknown {group} '{kind}'{nearest(kind, known)}")
    return known[kind]


def resolve(group: str, kind: str) -> Any:
    """Imports the class (or the function, of a figure) that a kind stands for."""
    module, _, name = target(group, kind).partition(":")
    return getattr(import_module(module), name)
