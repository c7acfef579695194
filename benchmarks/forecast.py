"""How well a model of long series continues them, beside forecasts that learn from the same train part or need none.

``python -m benchmarks.forecast RECIPE`` after ``dvc repro pretrain@RECIPE``. The last quarter of each window of the test part is hidden;
the windows lie behind one another, so that no moment is counted twice. Errors are squared, over the variance of the channel in train.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.rows import Row, publish, ratio_of_means
from experiments.params import recipe_row
from mae_core.data.dataset import open_dataset
from mae_core.modalities.base import mean_error
from mae_core.modalities.series import SeriesModality
from mae_core.model import MaskedAutoencoder

SHARE = 0.25
"""Of a window, to be forecast."""
DAY = 24
"""Moments of a season."""
ALPHAS = (1e1, 1e2, 1e3, 1e4, 1e5)


class Scaled(NamedTuple):
    """Windows as a linear model reads them: at the level of what is visible."""

    known: np.ndarray
    """(n, 2 C T_visible): visible moments, 0 where they are not there, then whether they are."""
    level: Tensor
    """(n, C, 1)."""
    spread: Tensor
    """(n, C, 1)."""


def hidden_tail(model: MaskedAutoencoder, raw: Tensor) -> Tensor:
    """Bool (n, C, T): the moments to be forecast that are known."""
    plan = model.plan(raw, SHARE, "tail", 0)
    return model.modality.covers(raw, plan.hide, plan.hide_ok)


def seasonal(raw: Tensor, hidden: Tensor, otherwise: Tensor) -> Tensor:
    """``raw`` with the hidden moments of a day before; ``otherwise`` where that was not there."""
    seen = torch.where(hidden, torch.nan, raw)
    before = seen.clone()
    for moment in range(
        DAY, raw.shape[2]
    ):  # in order, so that a second hidden day repeats the one that filled the first
        at = before[..., moment]
        before[..., moment] = torch.where(hidden[..., moment], before[..., moment - DAY], at)
    return torch.where(hidden, torch.where(before.isnan(), otherwise, before), raw)


def scaled(raw: Tensor, first: int, modality: SeriesModality) -> Scaled:
    """What the moments before ``first`` say."""
    seen = raw[..., :first]
    there = ~seen.isnan()
    count = there.sum(2, keepdim=True)
    level = torch.where(count > 0, seen.nan_to_num().sum(2, keepdim=True) / count.clamp_min(1), modality.mean)
    centred = torch.where(there, seen - level, 0.0)
    spread = (centred.square().sum(2, keepdim=True) / count.clamp_min(1)).sqrt().maximum(0.05 * modality.std)
    known = torch.cat([centred / spread, there.float()], 2).flatten(1)
    return Scaled(known.numpy(), level, spread)


def ridge(train: Tensor, validation: Tensor, test: Tensor, modality: SeriesModality) -> Tensor:
    """``test`` with its tail as forecast by one ridge regression a channel, its strength chosen on validation."""
    from sklearn.linear_model import Ridge

    first = test.shape[2] - round(SHARE * test.shape[2])
    parts = [scaled(raw, first, modality) for raw in (train, validation, test)]
    filled = test.clone()
    for channel in range(test.shape[1]):
        future = [
            ((raw[..., first:] - part.level) / part.spread)[:, channel].numpy()
            for raw, part in zip((train, validation, test), parts)
        ]
        whole = ~np.isnan(future[0]).any(1)
        fitted = [Ridge(alpha).fit(parts[0].known[whole], future[0][whole]) for alpha in ALPHAS]
        scale = (parts[1].spread / modality.std)[:, channel].numpy()
        errors = [np.nanmean(((one.predict(parts[1].known) - future[1]) * scale) ** 2) for one in fitted]
        said = torch.from_numpy(fitted[int(np.argmin(errors))].predict(parts[2].known)).float()
        filled[:, channel, first:] = said * parts[2].spread[:, channel] + parts[2].level[:, channel]
    return filled


def measure(model: MaskedAutoencoder, parts: dict[str, np.ndarray], command: str) -> list[Row]:
    """A row for each baseline; ``parts`` are the windows of train, validation and test."""
    modality = model.modality
    raw = torch.from_numpy(np.array(parts["test"]))
    hidden = hidden_tail(model, raw)
    filled = {
        name: one for name, one in modality.fills(raw, hidden).items() if name != "linear_fill"
    }  # which is the last
    filled["seasonal_naive"] = seasonal(raw, hidden, filled["last_fill"])
    train, validation = (torch.from_numpy(np.array(parts[name])) for name in ("train", "validation"))
    filled["ridge"] = torch.where(hidden, ridge(train, validation, raw, modality), raw)
    made = model.reconstruct(raw, SHARE, "tail", 0)
    ours = mean_error(modality.error(made.filled, raw), hidden).numpy()
    rows = []
    for name, one in filled.items():
        theirs = mean_error(modality.error(one, raw), hidden).numpy()
        means = float(ours.mean()), float(theirs.mean())
        rows.append(Row(f"forecast_mse_vs_{name}", *means, *ratio_of_means(ours, theirs), len(raw), command))
    return rows


def main(recipe: str, root: Path = Path()) -> None:
    """Prints the table and writes ``benchmarks/out/forecast_<recipe>.json``."""
    name = recipe_row(recipe, root).dataset
    dataset = open_dataset(root / "data" / name)
    model = MaskedAutoencoder.load(sorted((root / "models" / recipe).glob("seed-*"))[0])
    if not isinstance(model.modality, SeriesModality):
        raise SystemExit(f"error: {recipe} is no recipe for time series")
    parts = {name: dataset.split(name).samples for name in ("train", "validation", "test")}
    publish(f"forecast_{recipe}", measure(model, parts, f"python -m benchmarks.forecast {recipe}"))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "pollution")
