"""How well a table's model fills in the test part, beside imputations that learn from the same train part.

``python -m benchmarks.table RECIPE`` after ``dvc repro pretrain@RECIPE``. For each mask of the bank: nats a hidden value beside the
column's own distribution; RMSE of hidden numbers in standard deviations of train beside the joint ridge regression, with the column's
mean, ten nearest rows and scikit-learn's IterativeImputer as facts; the share of hidden numbers inside their 90 % interval.
The ridge learns from the whole train part, up to 50,000 rows, as the model does; the nearest rows and IterativeImputer have 2,000 of it.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.rows import Row, publish, ratio_of_means
from experiments.params import recipe_row
from experiments.subjects import spread
from mae_core.cells import Plan
from mae_core.data.dataset import open_dataset
from mae_core.evaluation.imputers import MOST_ROWS
from mae_core.modalities.columns import interval_of
from mae_core.modalities.table import TableModality
from mae_core.model import MaskedAutoencoder

MOST = 1_000
"""Rows of the test part, evenly spread over it."""
INTERVAL = (0.05, 0.95)


def iterative(raw: Tensor, hidden: Tensor, train: np.ndarray, modality: TableModality) -> Tensor:
    """scikit-learn's IterativeImputer with its BayesianRidge on the numbers of a table, ten rounds, learned from ``MOST_ROWS`` of train."""
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401  scikit-learn's switch
    from sklearn.impute import IterativeImputer

    columns = modality.columns
    z = columns.scale(torch.where(hidden, torch.nan, raw))[:, columns.number].numpy()
    rows = torch.from_numpy(train[spread(len(train), MOST_ROWS)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of rounds that have not converged
        imputer = IterativeImputer(max_iter=10, random_state=0, keep_empty_features=True)
        said = imputer.fit(columns.scale(rows)[:, columns.number].numpy()).transform(z)
    filled = raw.clone()
    filled[:, columns.number] = (
        torch.from_numpy(said).float() * columns.std[columns.number] + columns.mean[columns.number]
    )
    return torch.where(hidden & columns.number, filled, raw)


@torch.no_grad()
def measure(model: MaskedAutoencoder, test: np.ndarray, train: np.ndarray, command: str) -> list[Row]:
    """The rows of all masks."""
    modality = model.modality
    raw = torch.from_numpy(test)
    rows = []
    for mask in modality.bank:
        made = model.reconstruct(raw, mask.ratio, mask.strategy, mask.seed)
        rows.append(_likelihood(model, raw, made.plan, mask.name, command))
        where = made.hidden & modality.columns.number
        if not where.any():
            continue
        fills = {**modality.fills(raw, made.hidden), **modality.fills_from(raw, made.hidden, train)}
        fills["iterative_fill"] = iterative(raw, made.hidden, train, modality)
        squares = {name: _squares(modality, one, raw, where) for name, one in {"model": made.filled, **fills}.items()}
        count = where.sum(1).numpy()
        rmse = {name: float(np.sqrt(of.sum() / count.sum())) for name, of in squares.items()}
        found = ratio_of_means(squares["model"], squares["ridge_fill"], root=True)
        facts = {f"{name}_rmse": value for name, value in rmse.items() if name not in ("model", "ridge_fill")}
        facts["inside_90_interval"] = _inside(model, raw, made.plan)
        rows.append(
            Row(f"{mask.name}_rmse_vs_ridge", rmse["model"], rmse["ridge_fill"], *found, len(raw), command, facts)
        )
    return rows


def _likelihood(model: MaskedAutoencoder, raw: Tensor, plan: Plan, name: str, command: str) -> Row:
    ok = _ok(plan)
    target = model.target.target(model.modality.split(raw), plan)
    said, marginal = (
        torch.where(ok, nats, 0.0).sum(1).numpy()
        for nats in (model(raw, plan=plan).per_cell, model.target.marginal_loss(target, plan))
    )
    count = ok.sum(1).numpy()
    ours, theirs = float(said.sum() / count.sum()), float(marginal.sum() / count.sum())
    return Row(f"{name}_nats_vs_marginal", ours, theirs, *ratio_of_means(said, marginal), len(raw), command)


def _squares(modality: TableModality, filled: Tensor, raw: Tensor, where: Tensor) -> np.ndarray:
    return torch.where(where, modality.error(filled, raw), 0.0).sum(1).numpy()


def _inside(model: MaskedAutoencoder, raw: Tensor, plan: Plan) -> float:
    """Share of hidden numbers within the 90 % interval that the model gives them, at the resolution at which it tells numbers apart."""
    cells = model.modality.split(raw)
    said = model.target.distribution(model.view(cells, plan).prediction, plan)
    z = cells.values[..., 0].gather(1, plan.hide)
    low, high = (said.quantile(share) for share in INTERVAL)
    where = _ok(plan) & model.modality.columns.number[plan.hide]
    true = interval_of(z)
    return float(((true.high > low) & (true.low < high))[where].float().mean())


def _ok(plan: Plan) -> Tensor:
    return torch.ones_like(plan.hide, dtype=torch.bool) if plan.hide_ok is None else plan.hide_ok


def main(recipe: str, root: Path = Path()) -> None:
    """Prints the table and writes ``benchmarks/out/table_<recipe>.json``."""
    dataset = open_dataset(root / "data" / recipe_row(recipe, root).dataset)
    model = MaskedAutoencoder.load(sorted((root / "models" / recipe).glob("seed-*"))[0])
    if not isinstance(model.modality, TableModality):
        raise SystemExit(f"error: {recipe} is no recipe for tables")
    test = dataset.split("test").samples
    rows = measure(
        model, test[spread(len(test), MOST)], dataset.split("train").samples, f"python -m benchmarks.table {recipe}"
    )
    publish(f"table_{recipe}", rows)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "table_small")
