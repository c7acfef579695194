"""Tables: what is known of columns, how values become cells and come back, what is drawn and read."""

import numpy as np
import pytest
import torch
from scipy import stats

from mae_core.cells import Plan
from mae_core.modalities.columns import QUANTILES, RESOLUTION, TAIL, Columns, describe, share_below
from mae_core.modalities.table import TableModality
from mae_core.modalities.table_picture import value_words
from mae_core.model import MaskedAutoencoder

NAN = float("nan")
NAMED = [
    {"name": "size", "kind": "number"},
    {"name": "colour", "kind": "category", "categories": ["blue", "green", "red"]},
    {"name": "same", "kind": "number"},
    {"name": "day", "kind": "number", "date": True},
]


@pytest.fixture(scope="module")
def samples():
    """(300, 4): a skewed number, a colour of which train never sees green, a constant, a date; a tenth of the first two is missing."""
    rng = np.random.default_rng(0)
    x = np.stack(
        [rng.exponential(5, 300), rng.choice([0, 2], 300, p=[0.7, 0.3]), np.full(300, 7.0), np.arange(300.0)], 1
    )
    x[rng.random(300) < 0.1, 0] = NAN
    x[rng.random(300) < 0.1, 1] = NAN
    return x.astype(np.float32)


@pytest.fixture(scope="module")
def info(samples):
    found = TableModality.facts(samples, np.arange(200), {"columns": NAMED})
    return {**found.entries, "notes": found.notes}


@pytest.fixture(scope="module")
def table(info):
    torch.manual_seed(0)
    made = TableModality(16, **TableModality.configure(info, 1)).requires_grad_(False)
    made.init_weights()
    return made


def test_statistics_are_those_of_train_alone(samples, info):
    size, colour, same, _ = info["columns"]
    known = samples[:200, 0][~np.isnan(samples[:200, 0])].astype(np.float64)
    assert size["mean"] == pytest.approx(known.mean()) and size["std"] == pytest.approx(known.std())
    assert len(size["quantiles"]) == QUANTILES and size["quantiles"][16] == pytest.approx(np.median(known))
    assert size["missing"] == pytest.approx(np.isnan(samples[:200, 0]).mean())
    assert colour["counts"][1] == 0 and sum(colour["counts"]) == (~np.isnan(samples[:200, 1])).sum()
    assert same["std"] == 1 and info["notes"] == ["constant in train: same"]
    for gap in info["gaps"]:
        assert gap and set(gap) <= {0, 1}
    changed = samples.copy()
    changed[200:] = 99
    assert describe(changed, np.arange(200), NAMED).columns == info["columns"]


def test_a_column_of_which_train_knows_nothing_divides_by_one():
    x = np.array([[1, NAN], [2, NAN], [3, 5]], np.float32)
    found = describe(x, np.array([0, 1]), NAMED[:1] + NAMED[2:3])
    assert found.columns[1] == {**NAMED[2], "missing": 1.0, "mean": 0.0, "std": 1.0, "quantiles": [0.0] * QUANTILES}
    assert found.notes == ["no known value in train: same"]


@pytest.mark.parametrize("right", [False, True])
def test_ranks_are_those_of_the_quantiles(right):
    points = torch.tensor([[0.0, 1.0, 1.0, 1.0, 3.0]])
    x = torch.tensor([[-1.0, 0.0, 0.5, 1.0, 2.0, 3.0, 4.0]])
    at_one = 0.75 if right else 0.25
    expected = [0, 0, 0.125, at_one, 0.875, 1, 1]
    torch.testing.assert_close(share_below(points, x, right), torch.tensor([expected]))


def test_scores_of_a_normal_column_are_its_standardised_values():
    x = stats.norm.ppf((np.arange(4000) + 0.5) / 4000).astype(np.float32)[:, None] * 3 + 1
    columns = Columns(describe(np.repeat(x, 2, 1), np.arange(4000), [NAMED[0], NAMED[2]]).columns)
    raw = torch.tensor([[-2.0, 1.0], [4.0, 100.0]])
    torch.testing.assert_close(columns.scores(raw)[:, 0], torch.tensor([-1.0, 1.0]), atol=0.03, rtol=0)
    assert float(columns.scores(raw)[1, 1]) == pytest.approx(stats.norm.ppf(1 - TAIL), abs=1e-4)


def test_marginal_is_a_distribution_over_intervals(table, samples):
    columns = table.columns
    z = torch.arange(-40, 400) * RESOLUTION
    nats = columns.marginal(z[None], torch.zeros(1, len(z), dtype=torch.long), torch.zeros(1, len(z), dtype=torch.long))
    assert float((-nats).exp().sum()) == pytest.approx(1, abs=0.02)
    codes = torch.arange(4)[None]
    ones = torch.ones(1, 4, dtype=torch.long)
    shares = (-columns.marginal(torch.zeros(1, 4), codes, ones)).exp()
    counts = np.array([*table.described[1]["counts"], 0]) + 0.5
    torch.testing.assert_close(shares[0], torch.from_numpy(counts / counts.sum()).float())


def test_cells_hold_what_is_known(table, samples):
    raw = torch.from_numpy(samples)
    cells = table.split(raw)
    assert torch.equal(cells.valid, ~raw.isnan()) and torch.isfinite(cells.values).all()
    size = table.described[0]
    torch.testing.assert_close(cells.values[5, 0, 0], (raw[5, 0] - size["mean"]) / size["std"])
    assert (cells.values[:, 1, :2] == 0).all() and cells.gaps.shape == (len(table.gaps), 4)
    with pytest.raises(ValueError, match=r"takes \(B, 4\)"):
        table.split(raw[:, :3])
    with pytest.raises(TypeError, match="float32 with NaN"):
        table.split(raw.nan_to_num().long())


def test_unseen_categories_are_only_their_column(table):
    rows = torch.tensor([[1.0, code, 7.0, 3.0] for code in (0.0, 1.0, 2.0, 3.0)])
    embedded = table.embed(table.split(rows))[:, 1]
    assert torch.equal(embedded[1], embedded[3]) and torch.equal(embedded[1], table.rows[1])
    assert not torch.equal(embedded[0], embedded[2]) and not torch.equal(embedded[0], embedded[1])


def test_far_values_do_not_drown_everything(table):
    near, far = (table.embed(table.split(torch.tensor([[x, 0.0, 7.0, 3.0]])))[0, 0] for x in (1e3, 1e9))
    assert torch.equal(near, far)


def test_paste_undoes_the_scaling(table, samples):
    raw = torch.from_numpy(samples[:3]).nan_to_num(2.0)
    index = torch.tensor([[0, 1]]).expand(3, -1)
    plan = Plan(torch.tensor([[2, 3]]).expand(3, -1), index)
    cells = table.split(raw)
    values = torch.stack([cells.values[:, 0, 0], cells.values[:, 1, 2]], 1).unsqueeze(-1)
    torch.testing.assert_close(table.paste(raw, values, plan), raw)
    assert table.paste(raw, values + 1, plan)[0, 1] == raw[0, 1] + 1


def test_errors_are_squared_standard_deviations_or_wrong(table):
    raw, std = torch.tensor([[1.0, 2.0, 7.0, 3.0]]), table.described[0]["std"]
    filled = torch.tensor([[1.0 + 2 * std, 0.0, 7.0, 3.0]])
    torch.testing.assert_close(table.error(filled, raw), torch.tensor([[4.0, 1, 0, 0]]))
    hidden = torch.tensor([[True, True, False, False]])
    found = table.quality(filled, raw, hidden)
    assert found["rmse_hidden"][0] == pytest.approx(2) and found["accuracy_hidden"][0] == 0
    assert np.isnan(table.quality(filled, raw, ~hidden)["accuracy_hidden"][0])
    trivial = table.trivial(raw, hidden)
    assert trivial[0, 0] == pytest.approx(table.described[0]["mean"]) and trivial[0, 1] == 0


def test_plain_features_stand_for_missing_ones(samples, info):
    x = TableModality.plain(samples, info)
    assert (
        x.shape == (300, 7) and x.dtype == np.float32 and np.isfinite(x).all()
    )  # size, gone; blue, red, gone; same; day
    assert (x[:, 1] == np.isnan(samples[:, 0])).all() and (x[np.isnan(samples[:, 0]), 0] == 0).all()
    assert (x[:, 2:5].sum(1) == 1).all()


def test_files_are_read_as_the_source_was(table):
    data = b"note,day,colour,size,same\nx,2000-01-03,red,1.5,7\ny,?,violet,,7\n"
    info = {"columns": table.described, "gaps": [], "reading": {"missing": ["?"]}}
    reader = TableModality(8, **TableModality.configure(info, 1))
    np.testing.assert_array_equal(reader.read(data), np.array([[1.5, 2, 7, 2], [NAN, 3, 7, NAN]], np.float32))
    with pytest.raises(ValueError, match="no column 'size'"):
        reader.read(b"day,colour,same\n2000-01-03,red,7\n")
    with pytest.raises(ValueError, match=r"1 rows cannot be read: line 2, column 4 \(size\): 'big' is no number"):
        reader.read(data.replace(b"1.5", b"big"))
    assert reader.words(torch.tensor([[1.5, 3, NAN, 2.25]])) == [
        "  size: 1.5, colour: (unseen), same: ·, day: 2000-01-03 06:00"
    ]


def test_other_columns_are_another_dataset(table, info):
    assert table.differs(info) == ""
    other = [{**info["columns"][1], "categories": ["red", "green", "blue"]}]
    assert "not those" in table.differs({"columns": [info["columns"][0], *other, *info["columns"][2:]]})


def test_pictures_show_names_values_and_errors(table, samples):
    raw = torch.from_numpy(samples[:5])
    hidden = torch.zeros(5, 4, dtype=torch.bool)
    hidden[0, 0] = True
    masked = torch.where(hidden, NAN, raw)
    good, bad = (table.picture(raw, masked, torch.where(hidden, raw + by, raw)) for by in (0, 50))
    assert good.shape == bad.shape and good.dtype == np.uint8 and good.shape[2] == 3 and (good != bad).any()
    cards = table.render(raw)
    assert cards.shape[0] == 5 and cards.shape[3] == 3 and cards.dtype == torch.uint8
    assert value_words(table.columns, 1, 2.0) == "red" and value_words(table.columns, 0, NAN) == "·"
    assert value_words(table.columns, 0, 12.0) == "12" and value_words(table.columns, 0, 0.123456) == "0.1235"


def test_what_makes_no_table_is_refused(info):
    with pytest.raises(ValueError, match="two or more"):
        TableModality(8, [info["columns"][0]])
    with pytest.raises(ValueError, match="write auto"):
        TableModality.configure(info, 7)
    assert (
        TableModality.default_patch(info) == 1 and TableModality.misfit(info, 2) and not TableModality.misfit(info, 1)
    )


def test_a_model_is_described_without_memory():
    """The search asks for every configuration whether it can be built, on a device that holds no values."""
    config = {
        "modality": {"kind": "table", **TableModality.examples()["mixed"].config},
        "encoder": {"kind": "vit", "width": 16, "depth": 1, "heads": 2},
        "decoder": {"kind": "joint", "width": 8, "depth": 1, "heads": 2},
        "masking": {"strategy": "copy", "ratio": 0.5},
        "objective": {"reconstruction": 1.0, "target": "columns"},
    }
    with torch.device("meta"):
        meta = MaskedAutoencoder.build(config)
    real = MaskedAutoencoder.build(config)
    assert {n: p.shape for n, p in meta.named_parameters()} == {n: p.shape for n, p in real.named_parameters()}


def test_a_file_gets_what_it_lacks_and_keeps_the_rest(table):
    info = {"columns": table.described, "gaps": [], "reading": {"missing": ["?"], "delimiter": ";", "decimal": ","}}
    reader = TableModality(8, **TableModality.configure(info, 1))
    data = b'note;day;colour;size;same\n"x; y";?;red;1,50;7\nz;2000-01-03;;;7\n'
    assert reader.lacking(torch.from_numpy(reader.read(data))).sum() == 3
    filled = np.array([[9, 9, 9, 2.25], [0.5, 0, 9, 9]], np.float32)
    expected = b'note;day;colour;size;same\n"x; y";2000-01-03 06:00;red;1,50;7\nz;2000-01-03;blue;0,5;7\n'
    assert reader.mended(data, filled) == expected


@pytest.mark.parametrize(("asked", "encoding"), [("latin-1", "latin-1"), ("utf-8", "utf-8"), ("latin-1", "utf-16")])
def test_a_file_that_was_filled_reads_as_the_one_before(table, asked, encoding):
    """In the encoding that is asked for, or that its byte order mark says."""
    city = {"kind": "category", "name": "Öhe", "missing": 0.0, "categories": ["Nîmes", "Åmål"], "counts": [1, 2]}
    info = {"columns": [*table.described, city], "gaps": [], "reading": {"encoding": asked}}
    reader = TableModality(8, **TableModality.configure(info, 1))
    data = "size,colour,same,day,Öhe\n1,red,7,2000-01-02,\n,red,7,2000-01-02,Nîmes\n".encode(encoding)
    filled = np.array([[1, 2, 7, 1, 1], [0.5, 2, 7, 1, 0]], np.float32)
    mended = reader.mended(data, filled)
    assert mended.decode(encoding) == "size,colour,same,day,Öhe\n1,red,7,2000-01-02,Åmål\n0.5,red,7,2000-01-02,Nîmes\n"
    np.testing.assert_array_equal(reader.read(mended), filled)


def test_rows_that_are_written_are_read(table, samples):
    raw = torch.from_numpy(samples[:20].copy())
    back = torch.from_numpy(table.read(table.written(raw).encode()))
    torch.testing.assert_close(back, raw, rtol=1e-5, atol=1e-3, equal_nan=True)
    headless = TableModality(
        8, table.described, reading={"header": False, "names": ["same", "extra", "size", "colour", "day"]}
    )
    assert headless.written(raw[:1]).count("\n") == 1
    torch.testing.assert_close(torch.from_numpy(headless.read(headless.written(raw).encode())), back, equal_nan=True)


def test_digits_show_the_spread_of_their_column(table):
    far = {**next(c for c in table.described if c["kind"] == "number"), "name": "far", "mean": 1000004.5, "std": 2.0}
    reader = TableModality(8, [*table.described, far])
    row = torch.zeros(1, len(table.described) + 1)
    row[0, -1] = 1000005.5
    text = reader.written(row)
    assert text.endswith(",1000005.5\n") and reader.read(text.encode())[0, -1] == 1000005.5


def test_a_category_that_the_encoding_has_not_is_named(table):
    city = {"kind": "category", "name": "city", "missing": 0.0, "categories": ["Bonn", "Łódź"], "counts": [1, 2]}
    reader = TableModality(8, [*table.described, city], reading={"encoding": "latin-1"})
    data = b"size,colour,same,day,city\n1,red,7,2000-01-02,\n"
    filled = np.array([[1, 2, 7, 1, 1]], np.float32)
    with pytest.raises(ValueError, match="'Ł', of a predicted category, cannot be written in latin-1: convert"):
        reader.mended(data, filled)
