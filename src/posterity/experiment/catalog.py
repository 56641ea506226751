"""Names and what they stand for: the only such table. Nothing is imported until it is asked for."""

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from ..errors import ConfigError, nearest

#: Groups of components, each a table from kind to ``module:Class``. A constructor's parameter that is named like a
#: group (``family``, ``optimizer``, ``proposal``) takes a component of that group.
CATALOG: Mapping[str, Mapping[str, str]] = {
    "system": {
        "fitzhugh-nagumo": "posterity.systems.neurons.fitzhugh_nagumo:FitzHughNagumo",
        "fitzhugh-nagumo-ramsay": "posterity.systems.neurons.fitzhugh_nagumo:RamsayFitzHughNagumo",
        "fitzhugh-nagumo-stochastic": "posterity.systems.neurons.fitzhugh_nagumo:StochasticFitzHughNagumo",
        "hodgkin-huxley": "posterity.systems.neurons.hodgkin_huxley:RegularSpiking",
        "hodgkin-huxley-nakl": "posterity.systems.neurons.hodgkin_huxley:NaKL",
        "kolmogorov": "posterity.systems.kolmogorov:Kolmogorov",
        "linear": "posterity.systems.linear:LinearAdvection",
        "lorenz63": "posterity.systems.lorenz63:Lorenz63",
        "lorenz96": "posterity.systems.lorenz96:Lorenz96",
        "lorenz96-two-scale": "posterity.systems.lorenz96_two_scale:TwoScaleLorenz96",
        "shallow-water": "posterity.systems.shallow_water:ShallowWater",
    },
    "stimulus": {
        "chaotic": "posterity.systems.neurons.stimuli:Chaotic",
        "recorded": "posterity.systems.neurons.stimuli:Recorded",
        "step": "posterity.systems.neurons.stimuli:Step",
    },
    "operator": {
        "arctan": "posterity.problems.observing.operators:Arctan",
        "channels": "posterity.problems.observing.operators:Channels",
        "coarsen": "posterity.problems.observing.grids:Coarsen",
        "crop": "posterity.problems.observing.grids:Crop",
        "identity": "posterity.problems.observing.operators:Identity",
        "pointwise": "posterity.problems.observing.operators:Pointwise",
        "quadratic": "posterity.problems.observing.operators:Quadratic",
        "saturation": "posterity.problems.observing.operators:Saturation",
        "speed": "posterity.problems.observing.velocity:Speed",
        "stations": "posterity.problems.observing.stations:GaussianStations",
        "strided": "posterity.problems.observing.grids:Strided",
        "truncation": "posterity.problems.observing.grids:Truncation",
        "vorticity": "posterity.problems.observing.velocity:Vorticity",
    },
    "mask": {
        "channels": "posterity.problems.observing.masks:ChannelMask",
        "grid": "posterity.problems.observing.masks:GridMask",
        "random": "posterity.problems.observing.masks:RandomMask",
        "ring": "posterity.problems.observing.masks:RingMask",
        "times": "posterity.problems.observing.masks:TimeMask",
        "track": "posterity.problems.observing.masks:TrackMask",
    },
    "prior": {
        "log-normal": "posterity.problems.priors:LogNormal",
        "logit-normal": "posterity.problems.priors:LogitNormal",
        "normal": "posterity.problems.priors:Normal",
        "uniform": "posterity.problems.priors:Uniform",
    },
    "correlation": {
        "climatology": "posterity.problems.covariances.climatology:Climatology",
        "climatology-solenoidal": "posterity.problems.covariances.climatology:SolenoidalClimatology",
        "climatology-spectral": "posterity.problems.covariances.climatology:SpectralClimatology",
        "solenoidal": "posterity.problems.covariances.spectral:Solenoidal",
        "spectral": "posterity.problems.covariances.spectral:Spectral",
    },
    "spectrum": {
        "gaussian": "posterity.problems.covariances.spectra:GaussianSpectrum",
        "matern": "posterity.problems.covariances.spectra:MaternSpectrum",
        "power-law": "posterity.problems.covariances.spectra:PowerLaw",
    },
    "method": {
        "3dvar": "posterity.baselines.sequential.threedvar:ThreeDVar",
        "4dvar": "posterity.baselines.variational.fourdvar:FourDVar",
        "abc": "posterity.baselines.montecarlo.abc:RejectionABC",
        "amortised-vi": "posterity.estimators.avi:AmortizedVariational",
        "climatology": "posterity.baselines.montecarlo.climatology:Climatology",
        "enkf": "posterity.baselines.sequential.enkf:StochasticEnKF",
        "enks": "posterity.baselines.sequential.enks:EnKS",
        "ensemble-4dvar": "posterity.baselines.variational.ensemble_fourdvar:EnsembleFourDVar",
        "etkf": "posterity.baselines.sequential.etkf:ETKF",
        "exact": "posterity.baselines.montecarlo.exact:Exact",
        "fmpe": "posterity.estimators.continuous:FlowMatching",
        "fnse": "posterity.estimators.trajectories.factorized:FactorizedScore",
        "free-run": "posterity.baselines.sequential.freerun:FreeRun",
        "guided-score": "posterity.estimators.guided_score:GuidedScore",
        "hmc": "posterity.baselines.montecarlo.hmc:HamiltonianMonteCarlo",
        "ienks": "posterity.baselines.sequential.ienks:IEnKS",
        "importance": "posterity.baselines.montecarlo.importance:ImportanceSampling",
        "lagged-4dvar": "posterity.baselines.sequential.lagged:LaggedFourDVar",
        "lenks": "posterity.baselines.sequential.lenks:LocalEnKS",
        "letkf": "posterity.baselines.sequential.letkf:LETKF",
        "npe": "posterity.estimators.npe:NeuralPosterior",
        "nre": "posterity.estimators.nre:NeuralRatio",
        "nse": "posterity.estimators.continuous:NeuralScore",
        "particle-filter": "posterity.baselines.sequential.particle:ParticleFilter",
        "particle-smoother": "posterity.baselines.sequential.particle:ParticleSmoother",
        "prior": "posterity.baselines.montecarlo.prior:Prior",
        "prior-importance": "posterity.baselines.montecarlo.prior_importance:PriorImportanceSampling",
        "sda": "posterity.estimators.trajectories.methods:SDA",
        "smc": "posterity.baselines.montecarlo.smc:SequentialMonteCarlo",
        "sosda": "posterity.estimators.trajectories.methods:SOSDA",
        "sosda-shared": "posterity.estimators.trajectories.methods:SharedSOSDA",
        "vi": "posterity.baselines.variational.vi:VariationalInference",
    },
    "composition": {
        "blankets": "posterity.diffusion.compositions.kinds:Blankets",
        "fold": "posterity.diffusion.compositions.kinds:Fold",
        "junction": "posterity.diffusion.compositions.kinds:Junction",
    },
    "family": {
        "block-tridiagonal": "posterity.baselines.variational.markov:BlockTridiagonal",
        "flow": "posterity.baselines.variational.flow:FlowFamily",
        "full": "posterity.baselines.variational.families:Full",
        "low-rank": "posterity.baselines.variational.families:LowRank",
        "mean-field": "posterity.baselines.variational.families:MeanField",
        "mean-field-trajectory": "posterity.baselines.variational.markov:TrajectoryMeanField",
    },
    "figure": {
        "accuracy_cost": "posterity.figures.accuracy_cost:accuracy_cost",
        "animation": "posterity.figures.fields.animation:animation",
        "corner": "posterity.figures.corner:corner",
        "covariance": "posterity.figures.covariance:covariance",
        "coverage": "posterity.figures.coverage:coverage",
        "cycle": "posterity.figures.cycle:cycle",
        "data": "posterity.figures.data:data",
        "error_spectrum": "posterity.figures.fields.error_spectrum:error_spectrum",
        "expected_coverage": "posterity.figures.expected_coverage:expected_coverage",
        "hovmoller": "posterity.figures.hovmoller:hovmoller",
        "maps": "posterity.figures.fields.maps:maps",
        "optimisation": "posterity.figures.optimisation:optimisation",
        "parameters": "posterity.figures.parameters:parameters",
        "ranks": "posterity.figures.ranks:ranks",
        "reference": "posterity.figures.reference:reference",
        "roc": "posterity.figures.roc:roc",
        "scores": "posterity.figures.scores:scores",
        "spectra": "posterity.figures.fields.spectra:spectra",
        "table": "posterity.figures.table:table",
        "training": "posterity.figures.training:training",
        "trajectories": "posterity.figures.trajectories:trajectories",
    },
    "flow": {
        "coupling-spline": "posterity.flows.vector:CouplingSpline",
        "delta": "posterity.flows.gaussians:Delta",
        "diagonal-gaussian": "posterity.flows.gaussians:DiagonalGaussian",
        "full-gaussian": "posterity.flows.gaussians:FullGaussian",
        "maf": "posterity.flows.vector:MaskedAutoregressive",
        "multiscale": "posterity.flows.multiscale:MultiScale",
        "nsf": "posterity.flows.vector:AutoregressiveSpline",
    },
    "frame": {
        "laplace": "posterity.estimators.frames.laplace:LaplaceFrame",
        "prior": "posterity.estimators.frames.frame:PriorFrame",
    },
    "guidance": {
        "dps": "posterity.diffusion.guidance:DPSGuidance",
        "moment-matching": "posterity.diffusion.guidance:MomentMatching",
        "sda": "posterity.diffusion.guidance:SDAGuidance",
    },
    "network": {
        "convolution": "posterity.nn.convolution:Convolution",
        "mlp": "posterity.nn.mlp:MLP",
        "residual-mlp": "posterity.nn.residual:ResidualMLP",
        "unet": "posterity.nn.unet:UNet",
    },
    "ratio_loss": {
        "balanced": "posterity.estimators.ratios.losses:BNRELoss",
        "contrastive": "posterity.estimators.ratios.losses:NREContrastiveLoss",
    },
    "ratio_sampler": {
        "importance": "posterity.estimators.ratios.samplers:PriorImportance",
        "smc": "posterity.estimators.ratios.samplers:TemperedSMC",
    },
    "refinement": {
        "hmc": "posterity.estimators.refinements:Hamiltonian",
        "importance": "posterity.estimators.refinements:Importance",
    },
    "target": {
        "control": "posterity.estimators.target:ControlTarget",
        "state": "posterity.estimators.target:StateTarget",
    },
    "sampler": {
        "ancestral": "posterity.diffusion.samplers:Ancestral",
        "multistep": "posterity.diffusion.samplers:Multistep",
        "predictor-corrector": "posterity.diffusion.samplers:PredictorCorrector",
        "runge-kutta": "posterity.diffusion.samplers:RungeKutta",
    },
    "schedule": {
        "edm": "posterity.diffusion.schedules:EDM",
        "flow-matching": "posterity.diffusion.schedules:Straight",
    },
    "lr_schedule": {
        "constant": "posterity.estimators.learning.lr_schedules:constant",
        "cosine": "posterity.estimators.learning.lr_schedules:cosine",
        "linear": "posterity.estimators.learning.lr_schedules:linear",
    },
    "optimizer": {
        "adam": "posterity.baselines.variational.optimizers:Adam",
        "natural-gradient": "posterity.baselines.variational.optimizers:NaturalGradient",
    },
    "solver": {
        "cholesky": "posterity.problems.linearized.solvers:Cholesky",
        "conjugate-gradients": "posterity.problems.linearized.solvers:ConjugateGradients",
    },
    "proposal": {
        "laplace": "posterity.baselines.montecarlo.proposals:Laplace",
        "variational": "posterity.baselines.montecarlo.proposals:Variational",
    },
}

#: How many parameters of a constructor the package gives, before the options: the problem, or the shape of a state.
GIVEN: Mapping[str, int] = {"method": 1, "operator": 1}

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
    """The ``module:Class`` of a kind.

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
