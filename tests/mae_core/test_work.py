"""What a step does, counted: the products beside the analytic FLOPs, any batch from two small ones, the memory that tensors hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mae_core import work
from mae_core.flops import train_flops
from mae_core.training.loop import Settings
from mae_core.work import Counting, Work, count

SETTINGS = Settings(steps=50, batch_size=16, lr=1e-3, precision="fp32")


@pytest.fixture(scope="module")
def config(make_config):
    return make_config(encoder={"kind": "vit", "width": 64, "depth": 2, "heads": 2})


@pytest.fixture(scope="module")
def samples(make_raw, config):
    return make_raw(40, config).numpy()


def test_a_product_is_counted_by_its_flops_and_bytes():
    with Counting() as counting:
        a, b = torch.ones(3, 4), torch.ones(4, 5)
        counting.take()
        a @ b
        done, held = counting.take()
    assert (done.calls, done.full_flops, done.low_flops) == (1, 2 * 3 * 4 * 5, 0)
    assert done.product_bytes == 4 * (12 + 20 + 15)
    assert held.tolist() == [4 * (12 + 20 + 15)], "the result is still there when it is counted"


def test_each_kind_of_work_has_its_own_count():
    with Counting() as counting:
        a = torch.ones(8)
        counting.take()
        a.view(2, 4)
        torch.nn.functional.gelu(a)
        a[torch.tensor([0, 1])]
        a.add_(1)
        a.bfloat16().view(2, 4) @ torch.ones(4, 1).bfloat16()
        done, _ = counting.take()
    assert done.views >= 2 and done.curved == 8 and done.picked_bytes == 32 + 16 + 8 and done.low_flops == 16
    assert done.plain_bytes >= 64


def test_memory_that_is_let_go_is_held_no_longer():
    with Counting() as counting:
        a = torch.ones(1000)
        before = counting.live
        del a
        assert before == 4000 and counting.live == 0


def test_products_are_the_analytic_flops(config, samples):
    """The analytic ones leave out little and hold no gradient of the pixels, which nothing asks for."""
    counted = count(config, SETTINGS, samples)
    expected = train_flops(config) * SETTINGS.batch_size
    assert 0.8 * expected < counted.work.full_flops < 1.1 * expected


@pytest.mark.parametrize("decoder", [{"kind": "joint", "heads": 2}, {"kind": "unet", "kernel": 7}])
def test_products_of_convolutions_are_the_analytic_flops_too(make_config, samples, decoder):
    """Each channel by itself: torch's own formula for backward takes every channel with every other."""
    encoder = {"kind": "conv", "width": 32, "depth": 3, "stages": 2, "kernel": 7}
    config = {**make_config(), "encoder": encoder, "decoder": {"width": 16, "depth": 1, **decoder}}
    counted = count(config, SETTINGS, samples)
    expected = train_flops(config) * SETTINGS.batch_size
    assert 0.8 * expected < counted.work.full_flops < 1.1 * expected


def test_any_batch_is_told_from_two_small_ones(config, samples, monkeypatch):
    whole = count(config, SETTINGS, samples)
    monkeypatch.setattr(work, "LARGEST_STEP", 4 * train_flops(config))
    told = count(config, SETTINGS, samples)
    assert told.work == pytest.approx(whole.work, rel=1e-6)
    assert told.peak_bytes == pytest.approx(whole.peak_bytes, rel=0.02)


def test_memory_holds_weights_moments_and_what_is_kept_for_backward(config, samples):
    from mae_core.model import MaskedAutoencoder

    weights = 4 * sum(p.numel() for p in MaskedAutoencoder.build(config).parameters())
    counted = count(config, SETTINGS, samples)
    assert counted.state_bytes >= 3 * weights
    assert counted.peak_bytes > counted.state_bytes
    twice = count(config, replace(SETTINGS, batch_size=32), samples)
    assert twice.peak_bytes > counted.peak_bytes and twice.state_bytes == pytest.approx(counted.state_bytes, rel=0.02)
    averaged = count(config, replace(SETTINGS, ema=0.9), samples)
    assert averaged.state_bytes >= counted.state_bytes + weights


def test_what_is_recomputed_is_held_no_longer_and_done_again(config, samples):
    kept = count(config, SETTINGS, samples)
    again = count(config, replace(SETTINGS, recompute=True), samples)
    assert again.work.full_flops > 1.15 * kept.work.full_flops and again.peak_bytes < kept.peak_bytes


def test_workers_share_a_batch_and_passes_cut_it(config, samples):
    whole, half = count(config, SETTINGS, samples), count(config, SETTINGS, samples, workers=2)
    assert half.work.full_flops == pytest.approx(whole.work.full_flops / 2)
    cut = count(config, replace(SETTINGS, micro_batch=8), samples)
    assert cut.work.full_flops == pytest.approx(whole.work.full_flops) and cut.peak_bytes < whole.peak_bytes


def test_ratios_that_change_are_all_looked_at(make_config, samples):
    """The mean over the ratios lies between the dearest and the cheapest; the memory is that of the dearest."""
    at = {ratio: count(make_config(masking={"ratio": ratio}), SETTINGS, samples) for ratio in (0.5, 0.75)}
    steps = {"kind": "steps", "steps": [[0.5, 0.75]]}
    both = count(make_config(masking={"ratio": 0.5, "schedule": steps}), SETTINGS, samples)
    assert both.work.full_flops == pytest.approx((at[0.5].work.full_flops + at[0.75].work.full_flops) / 2, rel=0.03)
    assert both.peak_bytes == at[0.5].peak_bytes


@pytest.mark.parametrize("seed", [0, 5])
def test_batches_masked_at_random_and_by_a_policy_both_count(make_config, samples, seed):
    """Whatever the first step draws: the share of each is what is said."""
    options = {"plans": 1, "hidden": 16, "reward": "progress"}
    settings = replace(SETTINGS, seed=seed)

    def work_of(share):
        masking = {"strategy": "policy", "options": {**options, "random": share}}
        return count(make_config(masking=masking), settings, samples).work.full_flops

    none, some, all_ = (work_of(share) for share in (0.0, 0.3, 1.0))
    assert all_ < none and some == pytest.approx(0.3 * all_ + 0.7 * none)


def test_every_arm_of_a_bandit_counts(make_config, samples):
    def work_of(*ratios):
        options = {"families": ["random", "grid"], "ratios": ratios, "every": 100}
        return count(make_config(masking={"strategy": "bandit", "options": options}), SETTINGS, samples).work.full_flops

    low, high, both = work_of(0.25), work_of(0.75), work_of(0.25, 0.75)
    assert high < both < low and both == pytest.approx((low + high) / 2, rel=0.03)


def test_what_a_report_probes_is_not_work_of_a_step(make_config, samples):
    config = make_config(masking={"strategy": "bandit", "options": {"families": ["random", "grid"]}})
    labels = np.arange(len(samples)) % 3
    assert count(config, SETTINGS, samples, labels=labels).work == count(config, SETTINGS, samples).work


def test_a_line_goes_through_both_works_and_not_below_zero():
    few, many = Work(*range(8)), Work(*(2 * n for n in range(8)))
    assert few.line(many, 0) == few and few.line(many, 1) == many and few.line(many, 3).plain_bytes == 28
    assert many.line(few, 3) == Work(*[0.0] * 8)
