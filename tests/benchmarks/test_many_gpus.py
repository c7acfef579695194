"""Many GPUs on paper: more of them take less time, and never less than their share."""

from __future__ import annotations

import pytest

from benchmarks import many_gpus
from benchmarks.gpu import Size


def test_a_step_on_more_gpus_is_shorter_but_not_by_more_than_their_number(monkeypatch):
    monkeypatch.setitem(many_gpus.SIZES, "vit_b", Size(64, 2, 2, 256))
    rows = many_gpus.rows("vit_b", "command")
    assert [row.name for row in rows][:3] == [f"vit_b_on_{n}_gpus_ddp_vs_one_ms_per_step" for n in (8, 64, 512)]
    for row in rows:
        workers = int(row.name.split("_")[3])
        assert row.ours * workers >= row.baseline * (1 - 1e-9)
        assert row.facts["efficiency"] <= row.facts["efficiency_at_best"] <= 1 + 1e-9
        assert row.ours == pytest.approx(row.facts["computing_ms"] + row.facts["talking_ms"])
