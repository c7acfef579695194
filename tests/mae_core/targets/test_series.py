"""What a series is scored in: the visible level, or the units of the dataset."""

import torch

from mae_core.cells import Plan
from mae_core.modalities.series import SeriesModality
from mae_core.targets.series import RawSeries, VisibleLevel


def test_raw_series_score_the_error_that_is_left_after_decoding():
    modality = SeriesModality(8, 2, 12, 3, mean=[0.0, 10.0], std=[1.0, 4.0])
    generator = torch.Generator().manual_seed(0)
    raw = torch.randn(5, 2, 12, generator=generator) * torch.tensor([[[0.5], [8.0]]])
    plan = Plan(torch.tensor([[0, 1, 2, 4, 5, 6]]).expand(5, -1), torch.tensor([[3, 7]]).expand(5, -1))
    cells, said = modality.split(raw), torch.randn(5, 2, 3, generator=generator)
    plain, target = VisibleLevel(modality), RawSeries(modality)
    decoded = target.decode(said, cells, plan).values
    assert torch.equal(decoded, plain.decode(said, cells, plan).values)
    wrong = decoded - torch.stack([raw[:, 0, 9:], raw[:, 1, 9:]], 1)
    expected = (wrong / torch.tensor([1.0, 4.0]).view(1, 2, 1)).square().mean(-1)
    torch.testing.assert_close(target.cell_loss(said, target.target(cells, plan), plan), expected)
    level = modality.level(cells, plan.keep).std[:, plan.hide[0]]
    at_level = plain.cell_loss(said, plain.target(cells, plan), plan)
    torch.testing.assert_close(at_level, (wrong / level).square().mean(-1))


def test_moments_that_are_not_there_are_not_scored():
    modality = SeriesModality(8, 1, 12, 3, mean=[0.0], std=[1.0])
    raw = torch.randn(1, 1, 12, generator=torch.Generator().manual_seed(1))
    raw[..., 10] = torch.nan
    plan = Plan(torch.tensor([[0, 1, 2]]), torch.tensor([[3]]))
    target = RawSeries(modality)
    said = torch.zeros(1, 1, 3)
    before = target.cell_loss(said, target.target(modality.split(raw), plan), plan)
    said[..., 1] = 100.0
    after = target.cell_loss(said, target.target(modality.split(raw), plan), plan)
    assert before.item() > 0 and torch.equal(before, after)
