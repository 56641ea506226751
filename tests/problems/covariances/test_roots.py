"""Roots of covariances, against dense matrices of their definitions."""

from dataclasses import replace
from math import pi

import pytest
import torch
import yaml

from posterity import data
from posterity.baselines import FourDVar, cycled
from posterity.data.tensors import window_of
from posterity.errors import ConfigError
from posterity.experiment import load
from posterity.inference.experiments import build_problem
from posterity.problems import Identity, Observation, Problem, Window, exact_posterior
from posterity.problems.covariances import (
    Climatology,
    Diagonal,
    GaussianSpectrum,
    MaternSpectrum,
    PowerLaw,
    Solenoidal,
    SolenoidalClimatology,
    Spectral,
    SpectralClimatology,
)
from posterity.systems import LinearAdvection, Lorenz63, Lorenz96
from posterity.tasks.assimilate import assimilate
from posterity.tasks.simulate import simulate
from posterity.testing import check_gaussian

PLANES = [(6, 4), (5, 7), (4, 5)]
HOMOGENEOUS = {
    "spectral": Spectral(length=1.2),
    "channels": Spectral(length=[1.0, 2.0], spectrum=MaternSpectrum()),
    "climatology": Climatology(draws=200),
    "few": Climatology(draws=10),
    "cross-spectra": SpectralClimatology(draws=20),
}
VELOCITIES = {
    "solenoidal": Solenoidal(length=1.2),
    "power-law": Solenoidal(spectrum=PowerLaw()),
    "solenoidal-climatology": SolenoidalClimatology(draws=20),
}


def problem_on(grid, correlation, **options):
    """A linear problem of two channels, whose background is correlated."""
    system = LinearAdvection(size=grid, names=("u", "v"))
    return Problem(
        system, Observation(Identity(system.shape), std=0.5), 3, background_correlation=correlation, **options
    )


def roots():
    """All roots on lines and planes of odd and even sizes, by names."""
    for grid in [(6,), (7,), *PLANES]:
        for name, correlation in (HOMOGENEOUS | (VELOCITIES if len(grid) == 2 else {})).items():
            yield pytest.param((correlation, grid), id=f"{name}-{grid}")


@pytest.fixture(params=roots())
def case(request):
    """A problem, its correlation, and the correlation's root."""
    correlation, grid = request.param
    problem = problem_on(grid, correlation)
    return problem, correlation, correlation.root(problem, torch.empty(0))


def test_the_transpose_is_the_adjoint(case):
    problem, _, root = case
    w, x = torch.randn(3, *root.shape), torch.randn(3, *problem.shape)
    torch.testing.assert_close((root.forward(w) * x).flatten(1).sum(-1), (w * root.transpose(x)).flatten(1).sum(-1))


def test_the_covariance_is_that_of_the_definition(case):
    problem, correlation, root = case
    matrix, dense = root.matrix(), correlation.matrix(problem).to(torch.empty(0))
    torch.testing.assert_close(matrix @ matrix.mT, dense, rtol=0, atol=1e-10)
    torch.testing.assert_close(root.variance().flatten(), dense.diagonal(), rtol=0, atol=1e-10)


def test_the_inverse_is_that_of_the_range(case):
    problem, _, root = case
    matrix = root.matrix()
    basis = torch.eye(matrix.shape[0]).unflatten(-1, problem.shape)
    inverse = root.inverse(basis).flatten(1).mT
    torch.testing.assert_close(matrix @ inverse @ matrix, matrix, rtol=0, atol=1e-9)
    torch.testing.assert_close(inverse, torch.linalg.pinv(matrix, rtol=1e-6), rtol=1e-6, atol=1e-6)
    values = torch.linalg.svdvals(matrix)
    square = matrix.shape[0] == matrix.shape[1]
    assert root.full == (square and bool(values[-1] > 1e-7 * values[0]))


def test_variances_are_one(case):
    _, correlation, root = case
    variance = root.variance()
    assert float(variance.mean()) == pytest.approx(1)
    if not correlation.uniform:
        torch.testing.assert_close(variance, torch.ones_like(variance))


@pytest.mark.parametrize("grid", PLANES)
@pytest.mark.parametrize("correlation", VELOCITIES.values(), ids=VELOCITIES)
def test_velocities_have_no_divergence(correlation, grid):
    problem = problem_on(grid, correlation)
    root = correlation.root(problem, torch.empty(0))
    u, v = root.forward(torch.randn(5, *root.shape)).unbind(1)
    ky, kx = (2 * pi * torch.fft.fftfreq(size) for size in grid)
    divergence = kx * torch.fft.fft2(u) + ky.unsqueeze(-1) * torch.fft.fft2(v)
    assert float(divergence.abs().max()) < 1e-10
    assert float(u.std()) > 0.1
    assert root.shape == (1, *grid)


@pytest.mark.parametrize("correlation", [HOMOGENEOUS["channels"], *VELOCITIES.values()], ids=["spectral", *VELOCITIES])
def test_draws_have_the_covariance(correlation):
    problem = problem_on((5, 4), correlation)
    root = correlation.root(problem, torch.empty(0))
    draws = root.forward(torch.randn(20000, *root.shape)).flatten(1)
    dense = correlation.matrix(problem).to(draws)
    error = ((dense.square() + torch.outer(dense.diagonal(), dense.diagonal())) / len(draws)).sqrt()
    assert ((draws.mT @ draws / len(draws) - dense).abs() < 5 * error).all()


def test_correlations_of_large_grids_are_those_of_the_families():
    """On a ring much longer than the correlation, whose spectrum the grid resolves."""
    system = LinearAdvection(size=256)
    problem = Problem(system, Observation(Identity(system.shape), std=1.0), 2)
    r = torch.arange(40.0)
    for family, expected in (
        (GaussianSpectrum(), (-(r**2) / (2 * 8.0**2)).exp()),
        (MaternSpectrum(smoothness=1.5), (1 + 3**0.5 * r / 8.0) * (-(3**0.5) * r / 8.0).exp()),
    ):
        root = Spectral(length=8.0, spectrum=family).root(problem, torch.empty(0))
        impulse = torch.zeros(1, 256)
        impulse[0, 0] = 1
        found = root.forward(root.transpose(impulse))[0, :40]
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)


def test_the_climatology_is_that_of_the_system():
    """Of a linear system, from white noise through some steps."""
    problem = replace(problem_on((3, 4), Climatology(draws=20000)), start=(3, 3))
    power = torch.linalg.matrix_power(problem.system.transition(), 3)
    std = problem.background_correlation.std(problem, torch.empty(0)).flatten()
    found = std * problem.background_correlation.matrix(problem).to(std) * std.unsqueeze(-1)
    torch.testing.assert_close(found, power @ power.mT, rtol=0, atol=0.04)
    spectral = SpectralClimatology(draws=2000)
    std = spectral.std(problem, torch.empty(0)).flatten()
    found = std * spectral.matrix(problem).to(std) * std.unsqueeze(-1)
    torch.testing.assert_close(found, power @ power.mT, rtol=0, atol=0.04)


def test_what_is_estimated_is_always_the_same_and_leaves_random_numbers_alone():
    correlation = Climatology(draws=20)
    problem = problem_on((6,), correlation)
    torch.manual_seed(3)
    first = correlation.matrix(problem)
    number = torch.rand(())
    torch.manual_seed(3)
    assert torch.equal(number, torch.rand(()))
    torch.manual_seed(4)
    again = Climatology(draws=20)
    assert torch.equal(first, again.matrix(replace(problem, background_correlation=again)))
    # Problems that differ in other things share the ensemble.
    assert correlation.anomalies(replace(problem, window=2)) is correlation.anomalies(problem)


def test_a_climatological_covariance_needs_no_standard_deviations():
    problem = problem_on((6,), Climatology(draws=200, scale=0.25), background_std=None)
    assert problem.has_background
    twin = problem.sample((4,))
    covariance = problem.background_root(twin.window).matrix()[0]
    anomalies = problem.background_correlation.anomalies(problem).flatten(1)
    torch.testing.assert_close(covariance @ covariance.mT, (0.25 * anomalies.mT @ anomalies).to(covariance))
    torch.testing.assert_close(
        twin.window.background_std[0].flatten(), (0.25 * anomalies.square().sum(dim=0)).sqrt().to(covariance)
    )


@pytest.mark.parametrize("kind", [Climatology, SpectralClimatology, SolenoidalClimatology])
def test_errors_of_models_may_have_the_climatological_covariance(kind):
    problem = problem_on((4, 5), None, error_correlation=kind(draws=50, scale=0.01))
    assert problem.weak
    root = problem.error_root(torch.empty(0))
    assert float(root.variance().mean()) == pytest.approx(0.01 * float(kind(draws=50).variance(problem).mean()))


def test_roots_have_the_dtype_of_the_windows():
    for correlation in (HOMOGENEOUS | VELOCITIES).values():
        problem = problem_on((4, 6), correlation)
        window = problem.sample((2,)).window
        wide = problem.background_root(window)
        narrow = problem.background_root(Window(*(field.float() for field in window)))
        w = torch.randn(2, *wide.shape)
        x = narrow.forward(w.float())
        assert x.dtype == narrow.variance().dtype == narrow.inverse(x).dtype == torch.float32
        torch.testing.assert_close(x.double(), wide.forward(w), rtol=0, atol=1e-5)


def test_zero_standard_deviations_have_zero_whitened_errors():
    root = Diagonal(torch.tensor([[1.0, 0.0, 2.0]]), 2, full=False)
    assert root.inverse(torch.ones(1, 1, 3)).tolist() == [[[1.0, 0.0, 0.5]]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"background_correlation": Solenoidal(), "background_std": (0.5, 1.0)}, "background_std: must be one number"),
        ({"error_correlation": Solenoidal(), "model_error": [0.1, 0.2]}, "model_error: must be one number, not"),
        ({"error_correlation": Spectral()}, "model_error: Spectral is a correlation, of unit variance"),
        ({"background_correlation": Spectral(), "background_std": None}, "background_std: Spectral is a correlation"),
        ({"background_correlation": Spectral(length=[1.0, 2.0, 3.0])}, "length: 3 numbers for states of 2 channels"),
    ],
)
def test_what_does_not_suit_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(problem_on((4, 5), None), **change)


@pytest.mark.parametrize(
    ("system", "correlation", "message"),
    [
        (Lorenz63(), Spectral(), "a spectrum needs states on a grid"),
        (Lorenz63(), SpectralClimatology(), "a spectrum needs states on a grid"),
        (Lorenz96(size=6), Solenoidal(), r"two channels on a plane, \(2, H, W\), and states are \(1, 6\)"),
        (LinearAdvection(size=(4, 4)), SolenoidalClimatology(), r"states are \(1, 4, 4\)"),
        (LinearAdvection(size=(80, 80)), Climatology(), "6400 x 6400 entries is too large"),
    ],
)
def test_states_of_other_shapes_are_refused(system, correlation, message):
    with pytest.raises(ValueError, match=message):
        Problem(system, Observation(Identity(system.shape), std=1.0), 2, background_correlation=correlation)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (Spectral, {"length": 0.0}, "length: correlation lengths must be positive"),
        (Spectral, {"length": [1.0, -1.0]}, "length: correlation lengths must be positive"),
        (Solenoidal, {"length": -1.0}, "length: a correlation length must be positive"),
        (MaternSpectrum, {"smoothness": 0.0}, "smoothness: must be positive"),
        (PowerLaw, {"slope": -1.0}, "slope: must be positive"),
        (Climatology, {"draws": 1}, "draws: a covariance needs at least 2"),
        (SpectralClimatology, {"scale": 0.0}, "scale: the factor .* must be positive"),
    ],
)
def test_bad_options_are_refused(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(**options)


def test_a_climatology_without_a_spread_is_refused():
    problem = replace(problem_on((6,), Climatology(draws=20)), system=Stuck())
    with pytest.raises(ValueError, match="correlation: some entries of the climatology are the same in all draws"):
        problem.background_correlation.matrix(problem)


class Stuck(LinearAdvection):
    """A system that starts from zero."""

    def __init__(self):
        super().__init__(size=(6,), names=("u", "v"))

    def initial(self, batch):
        """Zeros, with shape ``(*batch, 2, 6)``."""
        return torch.zeros(*batch, *self.shape)


def test_windows_of_files_need_one_number_where_the_correlation_does():
    problem = problem_on((4, 5), Solenoidal(), background_std=0.7)
    window = problem.sample((3,)).window
    window.check(problem)
    std = window.background_std.clone()
    std[1] *= 2
    window._replace(background_std=std).check(problem)
    std[2, 1, 0, 3] = 1.0
    with pytest.raises(ValueError, match=r"background_std: is 1 at \(2, 1, 0, 3\).*Solenoidal, takes one number"):
        window._replace(background_std=std).check(problem)


def test_files_of_experiments_and_of_twins_have_correlations(tmp_path):
    """From an experiment file to a twin, and from that to draws: all jobs have the same covariance."""
    study = {
        "title": "Velocities on a plane",
        "system": {"kind": "linear", "options": {"size": [4, 6], "names": ["u", "v"]}},
        "observation": {"std": 0.5},
        "prior": {"std": None, "correlation": {"kind": "climatology-solenoidal", "options": {"draws": 50}}},
        "model_error": {
            "std": 0.1,
            "correlation": {"kind": "spectral", "options": {"length": 1.5, "spectrum": "matern"}},
        },
        "window": 3,
        "splits": {"test": {"cases": 3}},
        "methods": {"4dvar": "4dvar"},
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    experiment = load(tmp_path / "study.yaml")
    simulate(experiment, "test", 0, tmp_path / "twin.nc")
    assimilate(experiment, "4dvar", tmp_path / "twin.nc", tmp_path / "posterior.nc", 500)
    problem = build_problem(experiment)
    assert problem.error_correlation == Spectral(length=1.5, spectrum=MaternSpectrum())
    with data.read(tmp_path / "twin.nc", "twin") as twin, data.read(tmp_path / "posterior.nc", "posterior") as drawn:
        window = window_of(twin.load(), problem, "twin", "cpu")
        x = torch.as_tensor(drawn["state"].values).movedim(1, 0).double()
    std = SolenoidalClimatology(draws=50).std(problem, torch.empty(0))
    torch.testing.assert_close(window.background_std, std.expand_as(window.background_std), rtol=1e-6, atol=0)
    check_gaussian(x, exact_posterior(problem, window))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prior": {"std": None, "correlation": "spectral"}}, "background_std: Spectral is a correlation"),
        (
            {"prior": {"std": [0.5, 1.0], "correlation": "solenoidal"}},
            "velocities without divergence have two channels",
        ),
        ({"prior": {"std": 1.0, "correlation": "spectal"}}, "unknown correlation 'spectal'; did you mean 'spectral'"),
        ({"model_error": {"std": None}}, "std: errors need standard deviations"),
        (
            {"model_error": {"std": 1.0, "correlation": {"kind": "spectral", "options": {"size": 2}}}},
            "model_error.correlation.options: unknown option 'size' of spectral",
        ),
    ],
)
def test_experiments_that_do_not_fit_are_refused(tmp_path, changes, message):
    study = {
        "title": "A ring",
        "system": "linear",
        "observation": {"std": 0.5},
        "prior": {"std": 1.0},
        "window": 3,
        "splits": {"test": {"cases": 3}},
        "methods": {"4dvar": "4dvar"},
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study | changes))
    with pytest.raises(ConfigError, match=message):
        build_problem(load(tmp_path / "study.yaml"))


@pytest.mark.parametrize("kind", [Spectral, Solenoidal], ids=["spectral", "solenoidal"])
def test_cycles_keep_the_correlation(kind):
    """The next background has the spread of the forecast; one number, where the correlation takes one."""
    problem = replace(problem_on((4, 5), kind(length=1.5), background_std=0.8), cycles=3)
    method = cycled(problem, FourDVar, FourDVar)
    window = problem.sample((2,)).window
    drawn = method.sample(window, 100)
    assert drawn.x.shape == (100, 2, 9, 2, 4, 5)
    assert drawn.x.isfinite().all()
    assert float(drawn.x[:, :, -1].std(dim=0).mean()) < 0.8
