"""What objectives, targets and led masks are worth beside the plain model: ``python -m benchmarks.objectives --dataset NAME``.

Everybody gets three trials, the plain model among them; see ``benchmarks.variants`` for how they are compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.sweep_command import command_line
from benchmarks.variants import Table, Trial

RATES = (0.5, 1.0, 2.0)
CROPS = (0.8, 0.6, 0.4)
"""Least share of a sample that is seen."""
COLORS = tuple({"pretrain.crop": 0.6, "pretrain.color_jitter": strength} for strength in (0.25, 0.5, 1.0))
"""Other crops and colours every time."""
AUGMENTED_PAIR = {"objective.mask_contrastive": 0.3, "objective.pair": "augmented"}
"""A second look at the sample augmented anew."""


def _weights(*settings: Mapping[str, Any]) -> tuple[Trial, ...]:
    return tuple(Trial({f"objective.{name}": value for name, value in one.items()}) for one in settings)


VARIANTS: Table = {
    "plain": tuple(Trial({}, rate) for rate in (1.0, 0.5, 2.0)),
    "uniformity": _weights(*({"uniformity": weight} for weight in (0.003, 0.01, 0.03))),
    "mask_contrastive": _weights(*({"mask_contrastive": weight} for weight in (0.03, 0.1, 0.3))),
    "uniformity_and_mask_contrastive": _weights(
        *({"uniformity": round(0.1 * weight, 6), "mask_contrastive": weight} for weight in (0.03, 0.1, 0.3))
    ),
    "variance_and_covariance": _weights(
        *({"variance": weight, "covariance": round(0.1 * weight, 6)} for weight in (0.03, 0.1, 0.3))
    ),
    "mask_contrastive_variance_and_covariance": _weights(
        *(
            {"mask_contrastive": 0.3, "variance": weight, "covariance": round(0.1 * weight, 6)}
            for weight in (0.03, 0.1, 0.3)
        )
    ),
    "cropped": tuple(Trial({"pretrain.crop": crop}) for crop in CROPS),
    "mask_contrastive_augmented": tuple(Trial({**AUGMENTED_PAIR, "pretrain.crop": crop}) for crop in CROPS),
    "recolored": tuple(Trial(changes) for changes in COLORS),
    "mask_contrastive_recolored": tuple(Trial({**AUGMENTED_PAIR, **changes}) for changes in COLORS),
    "vicreg": _weights(
        *(
            {"invariance": weight, "variance": weight, "covariance": round(0.1 * weight, 6)}
            for weight in (0.03, 0.1, 0.3)
        )
    ),
    "latent": tuple(Trial({"objective.target": "latent"}, rate) for rate in RATES),
    "pixels_and_latent": _weights(*({"targets": {"latent": weight}} for weight in (0.3, 1.0, 3.0))),
    "hog": tuple(Trial({"objective.target": "hog"}, rate) for rate in RATES),
    "hog_variance_and_covariance": _weights(
        *({"target": "hog", "variance": weight, "covariance": round(0.1 * weight, 6)} for weight in (0.03, 0.1, 0.3))
    ),
    "hog_mask_contrastive_recolored": tuple(
        Trial({"objective.target": "hog", **AUGMENTED_PAIR, **changes}, 0.5) for changes in COLORS
    ),
    "fourier": tuple(Trial({"objective.target": "fourier"}, rate) for rate in RATES),
}
"""Of images; the first is the baseline."""
PICTURES = tuple(name for name in VARIANTS if any(word in name for word in ("recolored", "hog", "fourier")))
"""Of images alone."""
TABLES = {"image": VARIANTS, "audio": {name: trials for name, trials in VARIANTS.items() if name not in PICTURES}}


def main(arguments: list[str] | None = None) -> None:
    """Trains what is not there yet and publishes the table."""
    command_line("objectives", __doc__, TABLES, arguments)


if __name__ == "__main__":
    main()
