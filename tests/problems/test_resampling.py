"""Weighted draws: how many they are worth, and equal draws from them."""

import torch

from posterity.problems.resampling import effective_sample_size, normalise_weights, systematic_resampling, take


def test_the_effective_number_is_kish_s():
    weights = torch.rand(20, 3)
    expected = weights.sum(dim=0).square() / weights.square().sum(dim=0)
    torch.testing.assert_close(effective_sample_size(weights.log()), expected)
    torch.testing.assert_close(normalise_weights(weights.log()), weights / weights.sum(dim=0))


def test_systematic_resampling_is_unbiased() -> None:
    r"""Each draw comes :math:`\lfloor S w \rfloor` or one more times, and :math:`S w` times on average."""
    repeats, samples = 40_000, 5
    weight = torch.tensor([0.02, 0.5, 0.0, 0.13, 0.35])
    index = systematic_resampling(weight.unsqueeze(-1).expand(5, repeats), samples)
    assert index.shape == (samples, repeats)
    count = torch.nn.functional.one_hot(index, 5).sum(dim=0)
    expected = samples * weight
    assert (count >= expected.floor()).all()
    assert (count <= expected.ceil()).all()
    rest = expected - expected.floor()
    error = (rest * (1 - rest) / repeats).sqrt()
    assert ((count.double().mean(dim=0) - expected).abs() <= 4 * error + 1e-12).all()


def test_systematic_resampling_rounds_expected_numbers():
    weights = normalise_weights(3 * torch.randn(50, 6))
    index = systematic_resampling(weights, 1000)
    counts = torch.stack([torch.bincount(column, minlength=50) for column in index.mT], dim=-1)
    assert ((counts - 1000 * weights).abs() < 1).all()
    assert (normalise_weights(torch.full((4, 1), -torch.inf)) == 0.25).all()
    # Particles without weight are never drawn, first and last ones included.
    weights = torch.tensor([0.0, 0.5, 0.0, 0.5, 0.0]).unsqueeze(-1)
    assert set(systematic_resampling(weights, 100).flatten().tolist()) == {1, 3}


def test_a_draw_without_weight_is_never_taken(monkeypatch) -> None:
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.zeros(shape))
    weight = torch.tensor([0.0, 0.5, 0.0, 0.5]).unsqueeze(-1)
    assert systematic_resampling(weight, 2).flatten().tolist() == [1, 3]


def test_members_are_taken_case_by_case():
    values = torch.randn(5, 3, 2)
    index = torch.randint(0, 5, (7, 3))
    taken = take(values, index)
    assert taken.shape == (7, 3, 2)
    for case in range(3):
        assert torch.equal(taken[:, case], values[index[:, case], case])


def test_the_effective_number_of_tiny_weights_keeps_its_digits():
    """In single precision, sums of logarithms of -1.2e7 are off by one."""
    single = torch.full((1000, 1), -1.2e7, dtype=torch.float32)
    assert abs(float(effective_sample_size(single)) - 1000) < 1e-2
    assert effective_sample_size(torch.full((9, 1), -torch.inf)).isnan().all()
