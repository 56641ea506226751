"""Frames: coordinates around an estimate, in which the posterior of a linear problem is white without a training."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from posterity.estimators import (
    AmortizedVariational,
    ControlTarget,
    Estimator,
    FlowMatching,
    NeuralPosterior,
    NeuralRatio,
    NeuralScore,
    StateTarget,
)
from posterity.estimators.frames import curvature
from posterity.estimators.frames.coordinates import LaplaceCoordinates
from posterity.estimators.frames.frame import PriorFrame, Seen
from posterity.estimators.frames.laplace import LaplaceFrame
from posterity.estimators.frames.search import search
from posterity.estimators.ratios.samplers import PriorImportance
from posterity.estimators.refinement import Refined
from posterity.estimators.refinements import Importance
from posterity.flows import CouplingSpline, FullGaussian, MaskedAutoregressive
from posterity.nn import MLP, Convolution
from posterity.problems import (
    Control,
    Identity,
    Normal,
    Observation,
    Problem,
    Quadratic,
    RandomMask,
    exact_posterior,
)
from posterity.systems import LinearAdvection, Lorenz63, Lorenz96
from posterity.testing import check_density, check_loss

pytestmark = pytest.mark.usefixtures("any_weights")

SMALL = {"network": Convolution(width=6, blocks=1, kernel=3), "frame": LaplaceFrame()}
FLOW = {**SMALL, "context": 2, "flow": MaskedAutoregressive(transforms=1, hidden=(8,))}
ESTIMATORS = {
    "npe": (NeuralPosterior, FLOW),
    "nse": (NeuralScore, {**SMALL, "steps": 8}),
    "fmpe": (FlowMatching, {**SMALL, "steps": 8}),
    "avi": (AmortizedVariational, {**SMALL, "context": 2, "flow": FullGaussian()}),
}
DRAWS = 200
DENSITIES = pytest.mark.parametrize("kind", ESTIMATORS)


@pytest.fixture
def coordinates() -> LaplaceCoordinates:
    """Three directions that differ from the prior, of five, the last two of which bend; three cases."""
    vectors, _ = torch.linalg.qr(torch.randn(3, 5, 3))
    straight = LaplaceCoordinates.straight(torch.randn(3, 5), torch.tensor([[2.0, 5.0, 9.0]] * 3), vectors)
    bends, scales = torch.zeros(3, 3, 2, 2), torch.zeros(3, 3, 2)
    bends[:, 1, 0, 0], bends[:, 2] = 0.7, torch.tensor([[0.4, -0.2], [-0.2, 0.3]])
    scales[:, 1, 0], scales[:, 2] = 0.2, torch.tensor([-0.3, 0.1])
    return replace(straight, bends=bends, scales=scales, means=torch.tensor([[0.1, -0.2, 0.3]] * 3))


@pytest.fixture
def masked(make_problem) -> Problem:
    """Half of the entries are missing, and no entry is as uncertain as another."""
    return make_problem(6, masks=(RandomMask(0.5),), std=(0.5, 1.0), background_std=(0.5, 1.5))


def still(estimator: Estimator) -> Estimator:
    """The estimator with weights of zero: the identity, which says that coordinates are white."""
    estimator.standardize(estimator.problem.sample((50,)))
    for parameter in estimator.parameters():
        parameter.data.zero_()
    return estimator


@pytest.mark.parametrize("scale", [1.0, 5.0, 40.0])
def test_places_are_found_again_near_and_far(coordinates, scale) -> None:
    z = scale * torch.randn(4, 3, 5)
    w, log_det = coordinates.forward(z)
    back, same = coordinates.inverse(w)
    torch.testing.assert_close(back, z)
    torch.testing.assert_close(same, log_det)
    # Scales reach exp(6 * 0.4), ten times, and shifts 6 * 6 * 1.1.
    assert (w.abs() < 4 + (12 * (50 + 3 * z.abs().max())).log()).all()


@pytest.mark.parametrize("scale", [1.0, 8.0])
def test_volume_is_that_of_the_map(coordinates, scale) -> None:
    z = scale * torch.randn(3, 5)
    full = torch.func.jacrev(lambda z: coordinates.forward(z)[0])(z)
    blocks = torch.stack([full[case, :, case] for case in range(3)])
    torch.testing.assert_close(coordinates.forward(z)[1], torch.linalg.slogdet(blocks).logabsdet)


def test_variance_is_that_of_white_coordinates(coordinates) -> None:
    straight = LaplaceCoordinates.straight(coordinates.origin, coordinates.values, coordinates.vectors)
    root = (straight.inverse(torch.eye(5).unsqueeze(1).expand(5, 3, 5))[0] - coordinates.origin).movedim(0, -1)
    torch.testing.assert_close(root, root.mT)
    torch.testing.assert_close(coordinates.variance(), (root @ root.mT).diagonal(dim1=-2, dim2=-1))


def test_coordinates_bend_with_those_before_alone(coordinates) -> None:
    """Draws lie on parabolas: the last entries move with the square of the first, and that with none."""
    white = torch.randn(6, 3, 5)
    coordinates = replace(coordinates, scales=torch.zeros(3, 3, 2), means=torch.zeros(3, 3))
    straight = LaplaceCoordinates.straight(coordinates.origin, coordinates.values, coordinates.vectors)
    moved = straight.forward(coordinates.inverse(0.1 * white)[0])[0] - 0.1 * white
    e, shift = (torch.einsum("cnk,...cn->...ck", coordinates.vectors, value) for value in (0.1 * white, moved))
    first = e[..., 0].square()
    torch.testing.assert_close(shift[..., 0], torch.zeros(6, 3))
    torch.testing.assert_close(shift[..., 1], -0.7 * first, rtol=0.01, atol=0)
    assert float((shift[..., 2] + 0.4 * first - 0.4 * e[..., 0] * (e[..., 1] - 0.7 * first)).abs().max()) < 0.1


@pytest.fixture(scope="module")
def curved(device) -> Problem:
    """Squares of a chaotic state, of which half are seen: posteriors are valleys that curve."""
    observation = Observation(Quadratic((1, 8)), std=(3.0, 6.0), masks=(RandomMask(0.5),))
    return Problem(Lorenz96(size=8, dt=0.1, spinup=2.0), observation, window=12, background_std=(0.6, 1.3))


def test_frames_that_bend_are_nearer_to_posteriors(curved) -> None:
    """Importance weights leave more of their draws in nearly all windows, and half as many again on average."""
    window, kept = curved.sample((20,)).window, {}
    for bent in (0, 8):
        estimator = still(NeuralPosterior(curved, **{**FLOW, "frame": LaplaceFrame(bent=bent)}))
        torch.manual_seed(3)
        kept[bent] = Refined(estimator, Importance(draws=DRAWS)).sample(window, 2).info["ess"]
    assert float((kept[8] > kept[0]).double().mean()) > 0.8
    assert float(kept[8].mean()) > 1.5 * float(kept[0].mean())


@pytest.fixture(scope="module")
def squared(device) -> Problem:
    """Squares of a linear flow: misfits are quadratic, and curve little over a standard deviation."""
    observation = Observation(Quadratic((1, 4)), std=(0.5, 1.0), masks=(RandomMask(0.7),))
    return Problem(LinearAdvection(size=4), observation, window=3, background_std=(0.1, 0.2))


def derivative(values: Tensor, u: Tensor) -> Tensor:
    """The derivative of values with shape ``(case, *batch)`` by the control of each case, a last dimension more."""
    rows = [torch.autograd.grad(row.sum(), u, create_graph=True)[0] for row in values.reshape(len(u), -1).unbind(dim=1)]
    return torch.stack(rows, dim=1).view(*values.shape, -1)


def test_coordinates_follow_the_cost_to_third_order(squared) -> None:
    """But for the skewness of single directions: their log-density beside derivatives of the cost itself."""
    control = Control(squared, squared.sample((6,)).window)
    minimum = search(control, 20, 1)
    gaussian = LaplaceCoordinates.straight(minimum.u, *torch.linalg.eigh(minimum.model.dense()))
    found = curvature.curved(control, gaussian, 4)
    u = minimum.u.clone().requires_grad_()
    hessian = derivative(derivative(control.cost(u), u), u)
    torch.testing.assert_close(
        found.vectors @ found.values.diag_embed() @ found.vectors.mT, hessian, atol=1e-6, rtol=1e-6
    )

    w, log_det = found.forward(u)
    ours = derivative(derivative(derivative(0.5 * w.square().sum(dim=-1) - log_det, u), u), u)
    axes = found.vectors * found.values.rsqrt().unsqueeze(-2)
    along = "cabd,cai,cbj,cdk->cijk"
    ours, wanted = (torch.einsum(along, third, axes, axes, axes) for third in (ours, derivative(hessian, u)))
    single = torch.arange(4)
    wanted[:, single, single, single] = ours[:, single, single, single] = 0
    # What differs is of second order in the curvature.
    assert float((ours - wanted).abs().max()) < 2 * float(wanted.abs().max()) ** 2
    assert float(wanted.abs().max()) > 0.02


def test_straight_frames_are_those_without_directions_to_bend_with(curved, masked) -> None:
    """A linear problem has no bends, a curved one has some, and they are those of the window alone."""
    for problem, bends in ((masked, False), (curved, True)):
        estimator, window = still(NeuralPosterior(problem, **FLOW)), problem.sample((8,)).window
        found = estimator.view(window).coordinates.bends
        assert (float(found.abs().amax()) > 0.05) is bends
        torch.testing.assert_close(estimator.view(window.select(slice(3, 5))).coordinates.bends, found[3:5])


@DENSITIES
def test_a_network_of_zeros_is_the_posterior_of_a_linear_problem(masked, exact_control, kind) -> None:
    """Densities are exact, but for what integration leaves; in the frame of the prior they are nats away."""
    method, options = ESTIMATORS[kind]
    window = masked.sample((20,)).window
    exact = exact_control(masked, window)
    u = exact.sample().unflatten(-1, (1, 6))
    estimator = still(method(masked, **options))
    torch.testing.assert_close(estimator.log_prob(u, window), exact.log_prob(u.flatten(1)), rtol=0, atol=1e-6)
    prior = still(method(masked, **{**options, "frame": PriorFrame()}))
    assert float((exact.log_prob(u.flatten(1)) - prior.log_prob(u, window)).mean()) > 0.5


@pytest.mark.parametrize("kind", ["nse", "npe"])
def test_its_draws_have_the_exact_moments(masked, kind) -> None:
    method, options = ESTIMATORS[kind]
    window = masked.sample((10,)).window
    found, exact = still(method(masked, **options)).sample(window, 1000), exact_posterior(masked, window)
    x = found.x[:, :, 0].flatten(2)
    white = torch.linalg.solve_triangular(
        torch.linalg.cholesky(exact.covariance[:, 0]), (x - exact.mean[:, 0]).movedim(0, -1), upper=False
    )
    # Means of 60 entries are within four of their errors, and so is the variance of all.
    assert float(white.mean(dim=-1).abs().max()) < 4 / 1000**0.5
    assert abs(float(white.square().mean()) - 1) < 4 * (2 / 60_000) ** 0.5


def test_a_ratio_in_the_frame_has_nothing_left_to_tell(masked) -> None:
    """The normaliser of a network of zeros is that of the posterior itself: none is off."""
    sampler = PriorImportance(draws=200)
    estimator = still(NeuralRatio(masked, **SMALL, context=2, ratio_sampler=sampler))
    window = masked.sample((10,)).window
    found, exact = estimator.sample(window, 200), exact_posterior(masked, window)
    error = (found.x[:, :, 0].flatten(2).mean(dim=0) - exact.mean[:, 0]).abs()
    assert (error < 4.5 * (exact.covariance[:, 0].diagonal(dim1=-2, dim2=-1) / 200).sqrt()).all()


@DENSITIES
def test_draws_carry_their_density_and_gradients_are_finite(masked, kind) -> None:
    method, options = ESTIMATORS[kind]
    estimator, twin = method(masked, **options), masked.sample((20,))
    estimator.standardize(twin)
    atol = 1e-7 if kind in ("npe", "avi") else 1e-3
    assert check_density(estimator, twin.window.select(slice(3)), atol).shape == (3, 3, 1, 6)
    for y in (twin.window.y, torch.full_like(twin.window.y, torch.nan)):
        check_loss(estimator, twin._replace(window=twin.window._replace(y=y)))


@pytest.mark.parametrize("kind", ["npe", "nse"])
def test_weights_of_draws_integrate_to_the_evidence(masked, exact_control, kind) -> None:
    """So does no density whose determinant is wrong; weights are of an estimator with random weights."""
    method, options = ESTIMATORS[kind]
    estimator = method(masked, **options)
    estimator.standardize(masked.sample((50,)))
    window = masked.sample((5,)).window
    info = Refined(estimator, Importance(draws=DRAWS)).sample(window, 20).info
    control, exact = Control(masked, window), exact_control(masked, window)
    evidence = control.log_prob(exact.mean) - exact.log_prob(exact.mean)
    error = (1 / info["ess"] - 1 / DRAWS).clamp(min=1e-6).sqrt()
    assert (((info["log_evidence"] - evidence).abs() - 1e-3).clamp(min=0) / error < 4.5).all()


@pytest.mark.parametrize(
    "problem",
    [
        Problem(Lorenz63(), Observation(Identity((3,)), std=(1.0, 1.0)), window=3),
        Problem(
            Lorenz96(size=5, spinup=0.0),
            Observation(Quadratic((1, 5)), std=(1.0, 1.0)),
            window=4,
            parameters={"forcing": Normal(8.0, 1.0)},
        ),
        Problem(
            Lorenz96(size=5, spinup=0.0), Observation(Quadratic((1, 5)), std=(1.0, 1.0)), window=3, model_error=0.1
        ),
        Problem(
            Lorenz96(size=5, spinup=0.0), Observation(Quadratic((1, 5)), std=(1.0, 1.0)), window=3, joint="climatology"
        ),
    ],
    ids=["no grid", "parameters", "model errors", "climatology"],
)
def test_whatever_has_a_control_has_a_frame(problem) -> None:
    """Also under the climatology joint, where its prior is no Gaussian: coordinates are coordinates."""
    for network in (MLP((8,)), Convolution(width=4, blocks=1, kernel=3)):
        if isinstance(network, Convolution) and len(problem.shape) == 1:
            continue
        options = {**FLOW, "network": network}
        estimator, twin = NeuralPosterior(problem, ControlTarget(), **options), problem.sample((7,))
        estimator.standardize(twin)
        check_loss(estimator, twin)
        check_density(estimator, twin.window)
        found = estimator.sample(twin.window, 5)
        assert found.x.shape == (5, 7, problem.window, *problem.shape)
        assert found.x.isfinite().all()


@DENSITIES
def test_batched_is_looped(masked, kind) -> None:
    method, options = ESTIMATORS[kind]
    estimator, twin = method(masked, **options), masked.sample((4,))
    estimator.standardize(twin)
    z = estimator.encode(twin)
    one = [estimator.log_prob(z[i : i + 1], twin.window.select(slice(i, i + 1))) for i in range(4)]
    torch.testing.assert_close(torch.cat(one), estimator.log_prob(z, twin.window))


@pytest.fixture
def lost(masked) -> tuple[NeuralPosterior, Problem]:
    """An estimator, and windows of which one has a background from which nothing finite follows, one absurd data."""
    estimator, window = NeuralPosterior(masked, **FLOW), masked.sample((4,)).window
    estimator.standardize(masked.sample((20,)))
    window.background_std[1] = torch.inf
    window.y[2] += 1e3
    return estimator, window


def test_windows_without_a_plausible_minimum_have_the_frame_of_the_prior(lost) -> None:
    estimator, window = lost
    view = estimator.view(window)
    assert (view.coordinates.values[1:3] == 1).all()
    assert (view.coordinates.origin[1:3] == 0).all()
    assert (view.coordinates.values[[0, 3]].amax(dim=-1) > 1).all()
    assert view.context[[0, 2, 3]].isfinite().all()
    # The others have what they would have alone.
    alone = estimator.view(window.select(torch.tensor([0, 3]))).context
    torch.testing.assert_close(view.context[[0, 3]], alone)


@pytest.mark.slow
def test_windows_with_and_without_a_frame_are_calibrated_together() -> None:
    """Squares have two signs, and one iteration finds no plausible one in half of the windows."""
    problem = Problem(
        LinearAdvection(size=2), Observation(Quadratic((1, 2)), std=(0.2, 0.2)), window=1, background_std=(1.0, 1.0)
    )
    options = {"network": MLP((32,)), "context": 4, "flow": CouplingSpline(transforms=2, hidden=(32,))}
    estimator = NeuralPosterior(problem, **options, frame=LaplaceFrame(iterations=1, increment=1))
    twin, test = problem.sample((10_000,)), problem.sample((2_000,))
    estimator.standardize(twin)
    (seen,) = estimator.look(twin)
    optimizer = torch.optim.Adam(estimator.parameters())
    for step in range(600):
        optimizer.param_groups[0]["lr"] = 4e-3 * (1 - step / 600)
        chosen = torch.randint(len(seen.w), (400,))
        optimizer.zero_grad()
        estimator.loss(twin, Seen(*(part[chosen] for part in seen))).backward()
        optimizer.step()
    with torch.no_grad():
        z, _ = estimator.draw(test.window, 100)
    rank = (z < estimator.encode(test)).double().mean(dim=0).flatten(1)
    lost = (estimator.view(test.window).coordinates.values == 1).all(dim=-1)
    assert 0.3 < float(lost.double().mean()) < 0.7
    for cases in (lost, ~lost):
        for level in (0.5, 0.8, 0.95):
            covered = float(((rank[cases] - 0.5).abs() < level / 2).double().mean())
            # Four errors of 1400 entries, and 0.02 for what such a network has not learned.
            assert abs(covered - level) < 4 * (level * (1 - level) / 1400) ** 0.5 + 0.02


def test_a_model_that_diverges_from_everywhere_leaves_no_nan() -> None:
    problem = Problem(Lorenz96(size=5, dt=0.1, spinup=0.0), Observation(Quadratic((1, 5)), std=(5.0, 5.0)), window=6)
    estimator, twin = NeuralPosterior(problem, **FLOW), problem.sample((6,))
    estimator.standardize(twin)
    window = twin.window._replace(background=torch.full_like(twin.window.background, 1e6))
    view = estimator.view(window)
    assert (view.coordinates.values == 1).all()
    z, log_q = estimator.draw(window, 4)
    assert z.isfinite().all()
    assert log_q.isfinite().all()


def test_the_work_of_frames_counts_in_that_of_draws(masked) -> None:
    """Once for all draws of a case, and no more for many than for few."""
    window, found = masked.sample((3,)).window, {}
    for name, frame in (("prior", PriorFrame()), ("laplace", LaplaceFrame())):
        estimator = NeuralPosterior(masked, **{**FLOW, "frame": frame})
        estimator.standardize(masked.sample((20,)))
        found[name] = [estimator.sample(window, number).info for number in (2, 9)]
        found[f"{name}, refined"] = [Refined(estimator, Importance(draws=50)).sample(window, 4).info]
    for name in ("", ", refined"):
        for plain, framed in zip(found["prior" + name], found["laplace" + name], strict=True):
            work = framed["model_steps"] - plain["model_steps"]
            assert (work > 0).all()
            torch.testing.assert_close(work, found["laplace"][0]["model_steps"] - found["prior"][0]["model_steps"])
            assert (framed["gradients"] > plain["gradients"]).all()


def test_states_have_no_frame_but_that_of_the_prior(masked) -> None:
    with pytest.raises(ValueError, match="frame: LaplaceFrame is one of the control, and what is learned are states"):
        NeuralScore(masked, StateTarget(), **SMALL)
    with pytest.raises(ValueError, match="iterations, increment: at least one is needed of each, not 0 and 2"):
        LaplaceFrame(iterations=0)
    with pytest.raises(ValueError, match="bent: must not be negative, not -1; 0 stands for straight coordinates"):
        LaplaceFrame(bent=-1)
    with pytest.raises(TypeError, match="frame: must be of class Frame, such as LaplaceFrame"):
        NeuralScore(masked, frame="laplace")


def test_a_frame_takes_gradients(masked) -> None:
    assert NeuralPosterior(masked, **FLOW).differentiates == ("system", "operator")
    assert NeuralPosterior(masked).differentiates == ()
    assert NeuralPosterior.differentiates == ()
    assert Refined(NeuralPosterior(masked, **FLOW), Importance()).differentiates == ("system", "operator")
