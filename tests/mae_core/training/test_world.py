"""Several ranks make one batch and learn what one rank learns."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from two_ranks import SAMPLES, Case, alone, together

from mae_core.data.loader import Batches
from mae_core.memory import AUTO
from mae_core.objectives import OBJECTIVES
from mae_core.training.loop import Settings
from mae_core.training.world import World, shard


@given(size=st.integers(1, 9), more=st.integers(0, 40))
def test_the_shares_are_the_batch_and_differ_by_at_most_one(size, more):
    batch_size = size + more
    shares = [World(rank, size).share(batch_size) for rank in range(size)]
    assert [row for share in shares for row in share] == list(range(batch_size))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@given(size=st.integers(1, 9), more=st.integers(0, 40), micro_batch=st.integers(1, 50))
def test_every_rank_takes_the_same_number_of_passes_none_empty_and_none_too_large(size, more, micro_batch):
    batch_size = size + more
    passes = World(0, size).passes(batch_size, micro_batch)
    for rank in range(size):
        rows = len(World(rank, size).share(batch_size))
        parts = [rows * (i + 1) // passes - rows * i // passes for i in range(passes)]
        assert min(parts) >= 1
        assert max(parts) <= max(micro_batch, 2 if micro_batch == 1 and batch_size % size else 1)


def test_a_batch_smaller_than_the_world_is_refused():
    with pytest.raises(ValueError, match="a batch of 2 cannot be shared by 3 workers: use fewer workers"):
        World(0, 3).share(2)


def test_an_unknown_strategy_names_those_there_are():
    with pytest.raises(ValueError, match="unknown strategy 'zero': there are ddp, fsdp2"):
        shard(torch.nn.Linear(1, 1), World(strategy="zero"), torch.device("cpu"))


@given(size=st.integers(1, 9), more=st.integers(0, 40), micro_batch=st.integers(0, 50))
def test_every_rank_knows_the_rows_of_all(size, more, micro_batch):
    batch_size = size + more
    passes = World(0, size).passes(batch_size, micro_batch)
    table = [World(0, size).rows(batch_size, number, passes) for number in range(passes)]
    assert [sum(column) for column in zip(*table)] == [len(World(rank, size).share(batch_size)) for rank in range(size)]
    assert all(min(rows) >= 1 and max(rows) - min(rows) <= 1 for rows in table)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_ranks_batches_put_together_are_the_batch_of_one(size):
    samples = np.arange(10 * 4, dtype=np.uint8).reshape(10, 1, 2, 2)
    one = Batches(samples, 7, 3, World(), torch.device("cpu"))
    ranks = [Batches(samples, 7, 3, World(rank, size), torch.device("cpu")) for rank in range(size)]
    for step in range(6):
        parts = [rank(step) for rank in ranks]
        assert torch.equal(torch.cat([part.ids for part in parts]), one(step).ids)
        assert torch.equal(torch.cat([part.raw for part in parts]), one(step).raw)


POLICY = {"strategy": "policy", "ratio": 0.75, "options": {"plans": 1, "update": "ppo", "hidden": 16, "random": 0.3}}
BANDIT = {
    "strategy": "bandit",
    "ratio": 0.75,
    "options": {"families": ["random", "edges"], "ratios": [0.5, 0.75], "every": 3},
}
TWICE = {"strategy": "random", "ratio": 0.75, "looks": 2}
RANKED = {"strategy": "loss_ranked", "ratio": 0.75}
COMPARING = {
    "mask_contrastive": 0.1, "uniformity": 0.5, "invariance": 0.1, "variance": 0.1, "covariance": 0.1, "projector": 6,
}  # fmt: skip
TAUGHT = {"loss_ranking": 0.3, "targets": {"latent": 0.5, "hog": 0.2}}
CASES = {
    "ddp": Case("ddp"),
    "fsdp2": Case("fsdp2"),
    "ddp in micro-batches": Case("ddp", micro_batch=2),
    "fsdp2 in micro-batches, more passes than one rank needs": Case("fsdp2", micro_batch=4),
    "ddp, averaged, changed, recomputed": Case("ddp", ema=0.9, crop=0.5, flip=True, color_jitter=0.5, recompute=True),
    "fsdp2, averaged, cropped, recomputed": Case("fsdp2", ema=0.9, crop=0.5, flip=True, recompute=True),
    "ddp, paths dropped, half predicted": Case("ddp", network="all options", micro_batch=2),
    "ddp, convolutions": Case("ddp", network="convolutions"),
    "fsdp2, convolutions, recomputed": Case("fsdp2", network="convolutions", recompute=True),
    "ddp, masks that are learned": Case("ddp", micro_batch=3, masking=POLICY),
    "ddp, masks that a bandit chooses": Case("ddp", masking=BANDIT),
    "ddp, two masks a sample, passes that fit": Case("ddp", masking=TWICE, micro_batch=AUTO, memory_budget_mb=0.25),
    "ddp, samples compared": Case("ddp", objective=COMPARING, log_grad_norms=True),
    "fsdp2, samples compared": Case("fsdp2", objective=COMPARING, log_grad_norms=True),
    "ddp, taught": Case("ddp", objective=TAUGHT, masking=RANKED, micro_batch=2, log_grad_norms=True),
    "fsdp2, taught": Case("fsdp2", objective=TAUGHT, masking=RANKED, micro_batch=4),
    "ddp, joint samples that lack parts": Case(
        "ddp", network="joint", objective={"target": "parts"}, log_grad_norms=True
    ),
    "fsdp2, joint samples in micro-batches": Case(
        "fsdp2", network="joint", objective={"target": "parts"}, micro_batch=2
    ),
}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """What two gloo ranks made of every case, in one pair of processes."""
    return together(list(CASES.values()), tmp_path_factory.mktemp("ranks"))


def settled(outcome, key):
    """A tensor less the bias of the keys: softmax does not see it, so its gradient is rounding alone, which AdamW makes large."""
    value = outcome.tensors[key]
    if not key.endswith("kv.bias") or value.ndim == 0:
        return value
    if key.endswith(".kv.bias"):  # of a cross-attention, whose queries have a projection of their own
        return value.chunk(2)[1]
    query, _, values = value.chunk(3)
    return torch.cat([query, values])


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_learn_what_one_learns(name, pairs):
    """Sums are taken in another order, so the last digits differ; 9 samples a batch make shares of 4 and 5."""
    case = CASES[name]
    one, two = alone(case), pairs[list(CASES).index(name)]
    assert len(one.losses) == len(two.losses) == case.settings().steps >= 8
    np.testing.assert_allclose(two.losses, one.losses, rtol=1e-5)
    assert one.losses[-1] < 0.95 * one.losses[0], "it learned something, so the curves are not trivially equal"
    np.testing.assert_allclose(two.norms, one.norms, rtol=1e-4)
    np.testing.assert_allclose(two.parts, one.parts, rtol=1e-4, atol=1e-7)
    asked = case.objective or {}
    objectives = 1 + len({*asked} & {*OBJECTIVES}) + len(asked.get("targets", {}))
    of_joint = 2 if case.network == "joint" else 0
    assert len(two.parts) == objectives * (2 if case.log_grad_norms else 1) + of_joint
    assert two.tensors.keys() == one.tensors.keys()
    for key in one.tensors:
        a, b = settled(two, key), settled(one, key)
        torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-5, msg=lambda text, key=key: f"{key}: {text}")


def test_a_checkpoint_of_two_sharded_ranks_goes_on_alone(pairs):
    """Saved whole, so that the number of workers may change between the parts of a run."""
    case = CASES["fsdp2"]
    finished = alone(case, resume=pairs[list(CASES).index("fsdp2")].checkpoint)
    np.testing.assert_allclose(finished.losses, alone(case).losses[case.saved_at :], rtol=1e-5)


def test_the_curve_is_not_that_of_other_samples():
    """The comparison above would notice ranks that see something else."""
    case = Case("ddp")
    shifted = alone(case, samples=np.ascontiguousarray(SAMPLES[::-1]))
    assert not np.allclose(shifted.losses, alone(case).losses, rtol=1e-4)
    assert isinstance(case.settings(), Settings)
