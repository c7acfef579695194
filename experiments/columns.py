"""The columns of the tables below results/ and data/, for who writes them and who reads them."""

from collections.abc import Iterable

SCORE_COLUMNS = [
    "recipe", "dataset", "split", "model", "task", "metric", "labels_per_class", "pretrain_seed", "probe_seed",
    "n_train", "n_test", "value", "low", "high", "fingerprint",
]  # fmt: skip
HISTORY_COLUMNS = ["seed", "step", "samples", "epoch", "loss", "lr", "grad_norm", "nonfinite_steps"]
LOSSES, PULLS, MASKS = PART_PREFIXES = ("loss_of/", "grad_norm_of/", "mask/")
"""Of the columns behind those of the history: a part of the loss without its weight, how hard an objective pulls at the encoder, and what
learned masks do."""


def parts_of(columns: Iterable[str]) -> list[str]:
    """Of the columns of a history: the parts of a loss that has several."""
    found = [name for name in columns if name.startswith(LOSSES)]
    return found if len(found) > 1 else []


def masks_of(columns: Iterable[str]) -> list[str]:
    """Of the columns of a history: what learned masks do."""
    return [name for name in columns if name.startswith(MASKS)]


TRIAL_COLUMNS = ["trial", "rung", "origin", "status", "seed", "steps", "flops", "parameters", "score", "loss"]
PROXY_COLUMNS = [
    "proxy", "rung", "target_rung", "n", "spearman", "low", "high", "top_n", "top_spearman", "top_low", "top_high",
]  # fmt: skip
EMBEDDING_COLUMNS = ["index", "split", "label", "x", "y", "pca_x", "pca_y"]
QUARANTINE_COLUMNS = ["file", "reason", "detail"]
SKIPPED_COLUMNS = ["task", "reason"]
