"""From draws of the control to ensembles, whose failed draws are replaced and counted; and independent runs joined."""

import torch

from posterity.problems import Control, Ensemble, Observation, Problem, Quadratic, chunks
from posterity.problems.ensemble import decode_ensemble, join_runs, run_gaps
from posterity.systems import Lorenz96

PROBLEM = Problem(Lorenz96(size=5, dt=0.1), Observation(Quadratic((1, 5))), window=3, forecast=2)


def test_sound_draws_are_decoded_as_they_are():
    control = Control(PROBLEM, PROBLEM.sample((3,)).window)
    u = control.prior(6)
    result = decode_ensemble(control, u, {"cost": torch.ones(3)})
    torch.testing.assert_close(result.x, Control(PROBLEM, control.window).decode(u)[0])
    assert result.steps == range(5)
    assert result.theta.shape == (6, 3, 0)
    assert result.info["failed"].tolist() == [0, 0, 0]
    assert result.info["cost"].tolist() == [1, 1, 1]
    assert result.info["model_steps"].tolist() == [24, 24, 24]


def test_failed_draws_give_their_place_to_others_of_their_case():
    control = Control(PROBLEM, PROBLEM.sample((4,)).window)
    u = control.prior(5)
    sound = control.decode(u)[0]
    u[1, 0] = torch.nan  # not finite itself
    u[[0, 3, 4], 1] = 1e6  # its trajectory diverges
    u[:, 2] = torch.inf  # no draw of this case is sound
    numbers = torch.arange(20.0).view(5, 4)
    result = decode_ensemble(control, u, {}, numbers)
    assert result.info["failed"].tolist() == [1, 3, 5, 0]
    torch.testing.assert_close(result.x[:, 3], sound[:, 3])
    torch.testing.assert_close(result.x[[0, 2, 3, 4], 0], sound[[0, 2, 3, 4], 0])
    torch.testing.assert_close(result.x[[1, 2], 1], sound[[1, 2], 1])
    assert result.x[:, 2].isnan().any(dim=0).any()
    for case, good in ((0, [0, 2, 3, 4]), (1, [1, 2])):
        for member in range(5):
            (donor,) = [g for g in good if torch.allclose(result.x[member, case], sound[g, case])]
            assert result.log_q[member, case] == numbers[donor, case]


def test_chunks_cover_the_batch_in_order():
    for total, size in ((10, 1), (10, 2**30), (1000, 2**15)):
        found = list(chunks(total, size, torch.device("cpu")))
        assert [i for chunk in found for i in range(total)[chunk]] == list(range(total))
        assert all(chunk.stop > chunk.start for chunk in found)
    assert len(list(chunks(10, 2**30, torch.device("cpu")))) == 10


def test_gaps_count_states_and_parameters() -> None:
    x, theta = torch.randn(2, 400, 3, 2, 1), torch.randn(2, 400, 3, 1)
    theta[1] += 10
    runs = [
        Ensemble(x[run], theta[run], range(2), {"ess": torch.ones(3) * run, "failed": torch.ones(3)}) for run in (0, 1)
    ]
    worst, median = run_gaps(runs)
    assert worst.shape == median.shape == (3,)
    assert (worst > 1.5).all()
    assert (median < 0.5).all()
    joined = join_runs(runs)
    assert joined.x.shape == (800, 3, 2, 1)
    assert joined.info["ess"].tolist() == [0.5] * 3
    assert joined.info["failed"].tolist() == [2.0] * 3


def test_runs_that_agree_have_no_gap_where_there_is_no_spread() -> None:
    x = torch.randn(2, 400, 3, 2, 4)
    x[..., 0] = 0.1
    worst, median = run_gaps([Ensemble(run, run.new_zeros(400, 3, 0), range(2), {}) for run in x])
    assert (worst < 0.5).all()
    assert (median > 0).all()
    x[1, :, 0, :, 0] = 0.2
    assert run_gaps([Ensemble(run, run.new_zeros(400, 3, 0), range(2), {}) for run in x])[0][0] > 1.5


def test_the_rounding_of_draws_is_no_gap() -> None:
    """Voltages around -70 mV that differ by the last bit of single precision, and by a spread that is one."""
    x = (torch.randn(2, 400, 1, 1, 2) * torch.tensor([3e-6, 1e-2]) - 70.0).float()
    x[1, :, ..., 0] += torch.finfo(torch.float).eps * 64
    worst, _ = run_gaps([Ensemble(run, run.new_zeros(400, 1, 0), range(1), {}) for run in x])
    assert float(worst) < 5 * (2 / 400) ** 0.5
