"""A new modality is one file and one registry row: here a strand of DNA, which the contract tests accept as they stand."""

import sys
import types

import contract
import numpy as np
import pytest
import torch
from pairwise import pairwise
from torch import nn

from mae_core.cells import Cells, gather_cells
from mae_core.modalities import MODALITIES
from mae_core.modalities.base import Example, Facts, Geometry, Mask, Modality

BASES = 4
LENGTH = 12


class Strand(Modality):
    """Raw float32 (B, 12) of bases 0 to 3, NaN = unread; a cell is one base, its values are one-hot."""

    default_ratio = 0.5
    default_target = "values"
    targets = ("pixels", "values")
    maskers = ("random", "span", "tail")
    blank = float("nan")
    unit = "wrong bases"
    bank = (Mask("random-50", "random", 0.5),)
    shape = (LENGTH,)

    def __init__(self, width):
        super().__init__()
        self.cells, self.values_per_cell = LENGTH, BASES
        self.register_buffer("coords", torch.arange(LENGTH).float().view(-1, 1), persistent=False)
        self.project = nn.Linear(BASES, width)

    @staticmethod
    def examples():
        def read(n, generator):
            return torch.randint(0, BASES, (n, LENGTH), generator=generator).float()

        return {"whole": Example({}, read)}

    @staticmethod
    def facts(samples, indices, described):
        return Facts({}, [])

    @staticmethod
    def default_patch(info):
        return 1

    @staticmethod
    def configure(info, patch):
        return {}

    @staticmethod
    def geometry(config):
        return Geometry(LENGTH, BASES, BASES)

    @staticmethod
    def plain(samples, info):
        return np.eye(BASES, dtype=np.float32)[samples.astype(int)].reshape(len(samples), -1)

    def init_weights(self):
        nn.init.xavier_uniform_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def split(self, raw):
        return Cells(nn.functional.one_hot(raw.long(), BASES).float(), self.coords)

    def embed(self, cells, keep=None, ok=None):
        return self.project(cells.values if keep is None else gather_cells(cells.values, keep))

    def covers(self, raw, index, ok=None):
        flags = torch.zeros(raw.shape, dtype=torch.bool)
        return flags.scatter_(1, index, True) if ok is None else flags.scatter_(1, index, ok)

    def paste(self, raw, values, plan):
        return raw.scatter(1, plan.hide, values.argmax(-1).to(raw.dtype))

    def error(self, filled, raw):
        return (filled != raw).float()


@pytest.fixture
def strand(monkeypatch):
    """The file and the row."""
    module = types.ModuleType("strand")
    module.Strand = Strand
    monkeypatch.setitem(sys.modules, "strand", module)
    monkeypatch.setitem(MODALITIES, "strand", "strand:Strand")
    monkeypatch.setitem(contract.KINDS, "strand", Strand)
    monkeypatch.setitem(contract.EXAMPLES, "strand", Strand.examples())


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)
def test_the_contract_holds_for_a_strand(strand, check, tmp_path):
    for i, case in enumerate(pairwise(contract.factors_of("strand"), contract.possible)):
        folder = tmp_path / str(i)
        folder.mkdir()
        contract.run(check, case, folder)
