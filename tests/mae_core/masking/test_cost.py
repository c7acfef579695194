"""What learned masks are said to cost beside what torch counts in trainings of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from counting import counter

from mae_core.flops import train_flops
from mae_core.masking.cost import BATCH
from mae_core.training.loop import Settings, fit, start

SETTINGS = Settings(steps=2, batch_size=BATCH, lr=1e-3, precision="fp32")
LABELS = np.arange(2 * BATCH + 1) % 3


def policy(**options):
    return {"strategy": "policy", "ratio": 0.75, "options": {"random": 0.0, "hidden": 16, "plans": 1, **options}}


def counted(config, raw, settings=SETTINGS):
    """FLOPs of training, for each sample of a step. The probe of reports is a measurement, as evaluation is: it is left out."""
    state = start(config, settings)
    with counter() as found:
        for _ in fit(state, raw.numpy(), settings, report_every=1, labels=LABELS, watched=False):
            pass
    return found.get_total_flops() / (settings.steps * settings.batch_size)


@pytest.fixture
def beside(make_config, make_raw):
    """Masking → what it costs more than random masks of the same ratio: as torch counts it, and as it is said."""

    def found(masking, settings=SETTINGS):
        random = {"strategy": "random", "ratio": masking["ratio"]}
        plain, config = (make_config(masking=one) for one in (random, masking))
        raw = make_raw(len(LABELS), config)
        real = counted(config, raw, settings) - counted(plain, raw, settings)
        return real, train_flops(config, settings.batch_size) - train_flops(plain, settings.batch_size)

    return found


@pytest.mark.parametrize("update", ["reinforce", "ppo"])
@pytest.mark.parametrize("reward", ["error", "progress", "probe"])
def test_rewards_and_the_policys_own_training_are_counted(beside, reward, update):
    real, said = beside(policy(reward=reward, update=update))
    assert said == pytest.approx(real, rel=0.1)


def test_what_is_done_once_a_step_is_shared_by_its_samples(beside):
    real, said = beside(policy(reward="probe"), replace(SETTINGS, batch_size=32))
    assert said == pytest.approx(real, rel=0.1)


def test_nothing_is_learned_where_nothing_is_hidden(make_config):
    ways = ({"strategy": "random"}, policy(), policy(plans=2), {"strategy": "random", "looks": 4})
    plain, *others = (train_flops(make_config(masking={**one, "ratio": 0.0})) for one in ways)
    assert others == [plain] * len(others), "and no second mask is the first one again"


def test_a_bandit_measures_itself_once_a_round(beside):
    real, said = beside({"strategy": "bandit", "ratio": 0.5, "options": {"families": ["random", "grid"], "every": 1}})
    before = said / SETTINGS.steps  # the first round is measured at its start too, which is not counted
    assert said + before == pytest.approx(real, rel=0.05)


def test_a_bandit_asks_the_teacher_too(make_config, make_raw):
    """Twice as many rounds cost more by what measuring the model once does, a look of the teacher at each probed sample included."""

    def real_and_said(every):
        masking = {"strategy": "bandit", "ratio": 0.5, "options": {"families": ["random", "grid"], "every": every}}
        config = make_config(masking=masking, objective={"target": "latent"})
        return counted(config, make_raw(len(LABELS), config)), train_flops(config, BATCH)

    (often, said_often), (seldom, said_seldom) = (real_and_said(every) for every in (1, 2))
    assert said_often - said_seldom == pytest.approx(often - seldom, rel=0.05)


def test_batches_masked_at_random_ask_for_nothing(make_config):
    whole, half, none = (
        train_flops(make_config(masking=policy(reward="progress", random=share))) for share in (0.0, 0.5, 1.0)
    )
    plain = make_config(masking={"strategy": "random", "ratio": 0.75})
    assert none == train_flops(plain) and half == pytest.approx((whole + none) / 2)
