"""Learned and led masks on real data beside random ones of 75 %: ``python -m benchmarks.led_masks --dataset NAME``.

Each has five trials, and the best of the grid of ``benchmarks.mask_ratio`` as many as that has; see ``benchmarks.variants`` for how they
are compared.
"""

from __future__ import annotations

from typing import Any

from benchmarks.mask_ratio import RATES, STRATEGIES, at, grid
from benchmarks.sweep_command import command_line
from benchmarks.variants import Table, Trial


def _masked(strategy: str, ratio: float, options: dict[str, Any], **more: Any) -> Trial:
    told = {"masking.strategy": strategy, "masking.ratio": ratio, "masking.options": options}
    return Trial({**told, **{f"objective.{name}": value for name, value in more.items()}})


def table(modality: str) -> Table:
    """The baseline first."""
    ratios = (0.55, 0.75)
    ranked = [_masked("loss_ranked", ratio, {}, loss_ranking=weight) for ratio in ratios for weight in (0.3, 1.0)]
    arms: dict[str, Any] = {"families": list(STRATEGIES[modality][:3])}
    bandits: list[dict[str, Any]] = [
        {**arms, "ratios": [0.4, 0.55, 0.75], "rule": r, "every": n} for r in ("exp3", "ucb") for n in (25, 50)
    ]
    return {
        "random_75": tuple(Trial(at("random", 0.75).changes, rate) for rate in RATES),
        "best_of_grid": grid(modality),
        "loss_ranked": (*ranked, _masked("loss_ranked", 0.65, {}, loss_ranking=1.0)),
        "attention": tuple(_masked("attention", ratio, {}) for ratio in (0.4, 0.55, 0.65, 0.75, 0.85)),
        "policy_error": tuple(
            [_masked("policy", r, {"reward": "error", "seek": seek}) for r in ratios for seek in ("high", "low")]
            + [_masked("policy", 0.65, {"reward": "error", "seek": "high", "random": 0.6})]
        ),
        "policy_progress": tuple(
            _masked("policy", r, {"reward": "progress", "plans": 1, **options})
            for options, ratios in (({}, (0.75, 0.85)), ({"floor": 0.97}, (0.65, 0.75, 0.85)))
            for r in ratios
        ),
        "policy_probe": tuple(
            [_masked("policy", r, {"reward": "probe", "seek": seek}) for r in ratios for seek in ("high", "low")]
            + [_masked("policy", 0.65, {"reward": "probe", "seek": "low"})]
        ),
        "bandit": tuple(_masked("bandit", 0.75, one) for one in [*bandits, {**arms, "every": 50}]),
    }


def main(arguments: list[str] | None = None) -> None:
    """Trains what is not there yet and publishes the table."""
    command_line("led_masks", __doc__, {modality: table(modality) for modality in STRATEGIES}, arguments)


if __name__ == "__main__":
    main()
