"""Tables: rows of numbers and categories, any of which may be missing. One cell is one column's value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mae_core.cells import Belief, Cells, Plan, gather_cells
from mae_core.data.delimited import Reading, read_delimited
from mae_core.data.kinds import column_of, encode
from mae_core.modalities.base import OWN, TAUGHT, Example, Facts, Geometry, Mask, Modality
from mae_core.modalities.columns import MOST_INPUT, Columns, describe, plain_features
from mae_core.modalities.panels import Panel

OF_NUMBER = 12
"""Values that the target ``columns`` predicts for a number: weight, centre and scale of four logistics."""
FIRST_STD = 0.3
"""Of the weights that values are multiplied with, before training."""


class TableModality(Modality):
    """Raw float32 (B, F), NaN where a value is missing, categories as their number in the column's list of names ↔ F cells.

    Args:
        width: D of the embedding.
        columns: for each its name, kind (``number`` or ``category``) and what ``describe`` says of it.
        gaps: for some samples of train that lack values, the columns they lack.
        reading: how files that ``read`` takes are written; as the ``csv`` source found them.
    """

    default_ratio = 0.5
    default_target = "columns"
    targets = ("columns", *TAUGHT)
    maskers = ("random", "column", "copy", "weight_map", *OWN)
    baselines = ("pca", "boosting")
    blank = float("nan")
    noun = "table"
    suffixes = frozenset({".csv", ".tsv", ".data", ".txt"})
    axes = ("columns",)
    legend = "A line for each column: what was filled in on green, yellow or red, the true value below it; what was seen is faint."
    unit = "of standardised numbers, 1 for a wrong category"
    bank = (
        Mask("random-50", "random", 0.5),
        Mask("random-25", "random", 0.25),
        Mask("column-50", "column", 0.5),
        Mask("copy-50", "copy", 0.5),
    )
    values_per_cell = 1

    def __init__(
        self,
        width: int,
        columns: Sequence[Mapping[str, Any]],
        gaps: Sequence[Sequence[int]] | None = None,
        reading: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.described = list(columns)
        self.reading = Reading.of(reading or {})
        self.columns = Columns(columns)
        self.cells = len(self.columns)
        self.shape = (self.cells,)
        # one row for each column, two for each number (its value and its score), one for each category: the cell adds three of them
        first = list(accumulate((size or 2 for size in self.columns.sizes), initial=self.cells))
        self.rows = nn.Parameter(torch.zeros(first[-1], width))
        self.register_buffer("first", torch.tensor(first[:-1]), persistent=False)
        self.register_buffer("coords", torch.arange(self.cells).float().unsqueeze(-1), persistent=False)
        lacking = torch.zeros(len(gaps or ()), self.cells, dtype=torch.bool)
        for row, absent in zip(lacking, gaps or ()):
            row[list(absent)] = True
        self.register_buffer("gaps", lacking, persistent=False)

    first: Tensor
    coords: Tensor
    gaps: Tensor

    @staticmethod
    def examples() -> dict[str, Example]:
        """Numbers alone; both kinds with gaps, a constant, and rows of which two values are left; categories alone."""
        number = {
            "kind": "number",
            "missing": 0.0,
            "mean": 1.0,
            "std": 2.0,
            "quantiles": [i / 4 - 3 for i in range(33)],
        }
        constant = {**number, "mean": 4.0, "std": 1.0, "quantiles": [4.0] * 33}
        category = {"kind": "category", "missing": 0.0, "categories": ["a", "b", "c"], "counts": [5, 3, 0]}
        kinds = {
            "numbers": [number] * 5,
            "mixed": [number, category, number, {**category, "counts": [1, 1, 9]}, constant, number, category],
            "categories": [category] * 4,
        }
        found = {}
        for name, columns in kinds.items():
            named = [{**column, "name": f"column {i}"} for i, column in enumerate(columns)]
            gaps = [[0, 3], [5]] if name == "mixed" else []
            found[name] = Example({"columns": named, "gaps": gaps}, partial(_rows, named, name == "mixed"))
        return found

    @staticmethod
    def facts(samples: np.ndarray, indices: np.ndarray, described: Mapping[str, Any]) -> Facts:
        """Statistics of every column, and patterns of missing values."""
        found = describe(samples, indices, described["columns"])
        return Facts({"columns": found.columns, "gaps": found.gaps}, found.notes)

    @staticmethod
    def default_patch(info: dict[str, Any]) -> int:
        """A cell is one value."""
        return 1

    @staticmethod
    def misfit(info: dict[str, Any], patch: int) -> str:
        """A table is not cut otherwise than by its columns."""
        return "" if patch == 1 else "cells of a table are single values"

    @staticmethod
    def configure(info: dict[str, Any], patch: int | list[int]) -> dict[str, Any]:
        """The columns as ``dataset.json`` has them. Raises ValueError for a patch other than 1."""
        if patch != 1:
            raise ValueError(f"model.patch {patch} is not for tables, whose cells are single values: write auto")
        return {key: info[key] for key in ("columns", "gaps", "reading") if key in info}

    @staticmethod
    def geometry(config: dict[str, Any]) -> Geometry:
        """Three rows of the embedding are added for each cell; the head computes the outputs of all columns for each hidden one."""
        columns = config["columns"]
        sizes = [len(c["categories"]) + 1 if c["kind"] == "category" else OF_NUMBER for c in columns]
        return Geometry(len(columns), 3, sum(sizes))

    @staticmethod
    def plain(samples: np.ndarray, info: Mapping[str, Any]) -> np.ndarray:
        """Standardised numbers and one-hot categories, missing ones as 0 beside a mark."""
        return plain_features(samples, info["columns"])

    def read(self, data: bytes) -> np.ndarray:
        """The rows of a file with a header like that of the data the model was made for; other columns are left out.

        Raises ValueError for a file that lacks a column, and for any row that cannot be read.
        """
        found = read_delimited(data, "the table", self.reading)
        gone = [column["name"] for column in self.described if column["name"] not in found.names]
        if gone:
            raise ValueError(f"no column {', '.join(map(repr, gone))}: the table has {', '.join(found.names)}")
        columns = [column_of(column, found.names.index(column["name"])) for column in self.described]
        rows = [encode(row, columns, self.reading) for row in found.rows]
        bad = [item.detail for item in found.refused] + [row for row in rows if isinstance(row, str)]
        if bad:
            raise ValueError(f"{len(bad)} rows cannot be read: {'; '.join(bad[:3])}")
        return np.array(rows, np.float32)

    def lacking(self, raw: Tensor) -> Tensor:
        """Every missing value."""
        return raw.isnan()

    def written(self, raw: Tensor) -> str:
        """A delimited file of the columns that the model knows."""
        from mae_core.modalities.table_file import write_rows

        return write_rows(self.columns, raw.cpu(), self.reading)

    def mended(self, data: bytes, filled: np.ndarray) -> bytes:
        """Other columns stay; what is filled in has six digits, or more where the column spreads little, or is a category of train."""
        from mae_core.modalities.table_file import mend_rows

        return mend_rows(self.columns, data, filled, self.reading)

    def differs(self, info: dict[str, Any]) -> str:
        """Columns have to be the same, categories in the same order."""
        theirs = [(c["name"], c["kind"], c.get("categories")) for c in info["columns"]]
        ours = [(c["name"], c["kind"], c.get("categories")) for c in self.described]
        return "" if theirs == ours else "its columns, or their categories, are not those that the model was made for"

    def words(self, raw: Tensor) -> list[str]:
        """Each row as ``name: value`` in the order of the columns."""
        from mae_core.modalities.table_picture import value_words

        named = list(enumerate(self.columns.names))
        return [
            "  " + ", ".join(f"{n}: {value_words(self.columns, i, float(row[i]))}" for i, n in named)
            for row in raw.cpu()
        ]

    def init_weights(self) -> None:
        """Columns are told apart from the start; categories like a table of words."""
        nn.init.normal_(self.rows, std=FIRST_STD)

    def split(self, raw: Tensor) -> Cells:
        """(B, F) float32 → cells of (standardised value, normal score, category); what does not apply is 0."""
        if raw.dim() != 2 or raw.shape[1] != self.cells:
            raise ValueError(f"rows of shape {tuple(raw.shape)} given, this model takes (B, {self.cells})")
        if not raw.is_floating_point():
            raise TypeError(f"rows are float32 with NaN where a value is missing, these are {raw.dtype}")
        code = torch.where(self.columns.number, 0.0, raw)
        values = torch.stack([self.columns.scale(raw), self.columns.scores(raw), code], -1).nan_to_num(0.0)
        return Cells(values, self.coords, valid=~raw.isnan(), gaps=self.gaps if len(self.gaps) else None)

    def embed(self, cells: Cells, keep: Tensor | None = None, ok: Tensor | None = None) -> Tensor:
        """(B, N, D), or (B, V, D) of the kept cells alone; 0 for a cell that is not ``ok``.

        The column's own row, plus rows times value and score of numbers, or the row of a category that train holds.
        """
        values = cells.values if keep is None else gather_cells(cells.values, keep)
        column = torch.arange(self.cells, device=values.device).expand(values.shape[:2]) if keep is None else keep
        z, score, code = values.unbind(-1)
        number, code = self.columns.number[column], code.long()
        if ok is not None:  # the category of a cell that is not there must not even choose a row
            code = torch.where(ok, code, 0)
        first = self.first[column] + code
        index = torch.stack([column, first, torch.where(number, first + 1, first)], -1)
        known = self.columns.seen[column].gather(-1, code.unsqueeze(-1)).squeeze(-1).to(z.dtype)
        value = torch.where(number, z.clamp(-MOST_INPUT, MOST_INPUT), known)
        times = torch.stack([torch.ones_like(z), value, torch.where(number, score, 0.0)], -1)
        if ok is not None:
            times = torch.where(ok.unsqueeze(-1), times, 0.0)
        return (F.embedding(index, self.rows) * times.unsqueeze(-1)).sum(-2)

    def covers(self, raw: Tensor, index: Tensor, ok: Tensor | None = None) -> Tensor:
        """Bool (B, F): the known values of the columns ``index`` (B, M)."""
        flags = torch.zeros(len(raw), self.cells, dtype=torch.bool, device=raw.device)
        flags.scatter_(1, index, True if ok is None else ok)
        return flags & ~raw.isnan()

    def paste(self, raw: Tensor, values: Tensor, plan: Plan) -> Tensor:
        """Rows whose hidden cells hold ``values`` (B, M, 1): standardised numbers, categories."""
        mean, std = self.columns.mean[plan.hide], self.columns.std[plan.hide]
        said = values.squeeze(-1).to(raw.dtype)
        said = torch.where(self.columns.number[plan.hide], said * std + mean, said)
        filled = torch.zeros_like(raw).scatter(1, plan.hide, said)
        return torch.where(self.covers(raw, plan.hide, plan.hide_ok), filled, raw)

    def error(self, filled: Tensor, raw: Tensor) -> Tensor:
        """Squared, of standardised numbers; 1 for a wrong category."""
        wrong = (filled != raw).to(raw.dtype)
        return torch.where(self.columns.number, (self.columns.scale(filled) - self.columns.scale(raw)).square(), wrong)

    def trivial(self, raw: Tensor, hidden: Tensor) -> Tensor:
        """The train split's mean or most frequent category."""
        return torch.where(hidden, self.columns.middle(), raw)

    def fills(self, raw: Tensor, hidden: Tensor) -> dict[str, Tensor]:
        """What train knows of each column by itself."""
        return {"column_fill": self.trivial(raw, hidden)}

    def fills_from(self, raw: Tensor, hidden: Tensor, train: np.ndarray) -> dict[str, Tensor]:
        """The nearest rows, and ridge regression on everything seen."""
        from mae_core.evaluation.imputers import knn_fill, ridge_fill

        return {
            "knn_fill": knn_fill(raw, hidden, train, self.columns),
            "ridge_fill": ridge_fill(raw, hidden, train, self.columns),
        }

    def quality(self, filled: Tensor, raw: Tensor, hidden: Tensor) -> dict[str, np.ndarray]:
        """RMSE of a row's hidden numbers in standard deviations of train, and the share of its hidden categories that are right.

        Only what the table has is measured; NaN for a row of which none is hidden.
        """
        error, number = self.error(filled, raw), self.columns.number
        found = {}
        if self.columns.any_number:
            found["rmse_hidden"] = _mean_where(error, hidden & number).sqrt()
        if self.columns.any_category:
            found["accuracy_hidden"] = 1 - _mean_where(error, hidden & ~number)
        return {name: value.cpu().numpy() for name, value in found.items()}

    def picture(self, raw: Tensor, masked: Tensor, filled: Tensor) -> np.ndarray:
        """The table itself, a row of the picture for each column: hidden values as filled in, over the true ones."""
        from mae_core.modalities.table_picture import draw_rows

        hidden = masked.isnan() & ~raw.isnan()
        error = self.error(filled, raw)
        return draw_rows(self.columns, raw.cpu(), filled.cpu(), hidden.cpu(), error.cpu())

    def render(self, raw: Tensor) -> Tensor:
        """Rows → pictures that list names and values, uint8 RGB (B, H, W, 3)."""
        from mae_core.modalities.table_picture import draw_card

        return torch.from_numpy(np.stack([draw_card(self.columns, row) for row in raw.cpu()]))

    def view(
        self, raw: Tensor, hidden: Tensor | None = None, truth: Tensor | None = None, belief: Belief | None = None
    ) -> list[list[Panel]]:
        """Names and values; of a hidden one its truth, the interval of a number or the probability of a category."""
        from mae_core.modalities.table_picture import row_of

        unknown = torch.full_like(raw, math.nan)
        true, error = (unknown, unknown) if truth is None else (truth, self.error(raw, truth))
        sure = low = high = unknown
        if belief is not None:
            sure = belief.probability
            low, high = (end * self.columns.std + self.columns.mean for end in (belief.low, belief.high))
        marks = torch.zeros_like(raw, dtype=torch.bool) if hidden is None else hidden
        rows = zip(*(x.cpu() for x in (raw, marks, true, error, sure, low, high)))
        return [[row_of(self.columns, *row)] for row in rows]


def _mean_where(values: Tensor, where: Tensor) -> Tensor:
    """(B,): the mean of the entries of ``where``, NaN where there is none."""
    return torch.where(where, values, 0.0).sum(1) / where.sum(1)


def _rows(columns: list[dict[str, Any]], gaps: bool, n: int, generator: torch.Generator) -> Tensor:
    """(n, F) random values of each column's kind; with ``gaps`` a fifth is missing, of every third row all but two."""
    rows = torch.randn(n, len(columns), generator=generator) * 2 + 1
    for i, column in enumerate(columns):
        if column["kind"] == "category":
            rows[:, i] = torch.randint(0, 3, (n,), generator=generator)
    if gaps:
        absent = torch.rand(n, len(columns), generator=generator) < 0.2
        absent[:, 1:3] = False
        absent[2::3, 3:] = absent[2::3, 0] = True
        rows[absent] = float("nan")
    return rows
