"""Pooling: what is not there does not count, and stretches of time stay apart."""

import torch

from mae_core.cells import pool_mean, pool_stretches


def test_the_mean_leaves_out_what_is_not_there():
    tokens = torch.tensor([[[1.0], [3.0], [100.0]]])
    assert pool_mean(tokens, torch.tensor([[True, True, False]])).item() == 2
    assert pool_mean(tokens, torch.zeros(1, 3, dtype=torch.bool)).item() == 0


def test_stretches_are_means_of_their_own_moments():
    tokens = torch.arange(8.0).view(1, 8, 1)
    places = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3])  # two channels of four moments
    assert pool_stretches(tokens, None, places, 2).tolist() == [[2.5, 4.5]]
    assert pool_stretches(tokens, None, places, 4).tolist() == [[2, 3, 4, 5]]
    ok = torch.tensor([[True] * 4 + [False] * 4])
    assert pool_stretches(tokens, ok, places, 2).tolist() == [[0.5, 2.5]]
    assert pool_stretches(tokens, ~ok & False, places, 2).tolist() == [[0, 0]]


def test_every_moment_is_in_a_stretch_and_no_stretch_is_empty():
    for moments in range(1, 12):
        tokens = torch.ones(1, moments, 1)
        assert pool_stretches(tokens, None, torch.arange(moments), 4).tolist() == [[1, 1, 1, 1]]
