"""Tables → plotly figures. Pure functions: no files, no Streamlit. Colours are those of Okabe & Ito (2008)."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#666666")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "pentagon", "hexagon", "triangle-down")
BLUE, ORANGE, GREEN, GREY, PALE = COLOURS[0], COLOURS[1], COLOURS[2], "#8A94A0", "#EAF2F8"
MOST_POINTS = 2000
AXES = {"lr": "learning rate", "grad_norm": "gradient norm"}
MOST_SCATTERED = 20_000
MOST_TICKS = 40


def words(text: object, longest: int = 64) -> str:
    """A name from a file as plotly text, which would read a tag in it as a tag."""
    plain = " ".join(str(text).split())
    return html.escape(plain if len(plain) <= longest else plain[: longest - 1] + "…", quote=False)


def _styled(figure: go.Figure, height: int, x: str = "", y: str = "", legend: bool = False) -> go.Figure:
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 28 if legend else 8, "b": 8},
        showlegend=legend,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "title": None},
        hoverlabel={"align": "left"},
        xaxis_title=x,
        yaxis_title=y,
    )
    figure.update_xaxes(automargin=True, zeroline=False)
    figure.update_yaxes(automargin=True, zeroline=False)
    return figure


def whiskers(rows: pd.DataFrame, unit: str, baseline: float | None = None) -> go.Figure:
    """One dot per row, the first on top, with its 95 % interval where there is one.

    Columns: label, hover (words), value, low, high (in `unit`, low and high may be NaN), main (bool: a trained model of
    ours, else something it has to beat). `baseline` draws a line.
    """
    figure = go.Figure()
    rows = rows.reset_index(drop=True)
    for wanted, colour, symbol in ((True, BLUE, "circle"), (False, GREY, "diamond")):
        part = rows[rows["main"] == wanted]
        if part.empty:
            continue
        up, down = (part["high"] - part["value"]).fillna(0), (part["value"] - part["low"]).fillna(0)
        figure.add_scatter(
            x=part["value"],
            y=part.index,
            mode="markers",
            marker={"color": colour, "size": 10, "symbol": symbol},
            error_x={"type": "data", "array": up, "arrayminus": down, "color": colour, "thickness": 1.6, "width": 4},
            customdata=[words(hover, 200) for hover in part["hover"]],
            hovertemplate="%{customdata}<extra></extra>",
        )
    if baseline is not None:
        figure.add_vline(baseline, line={"color": ORANGE, "dash": "dot", "width": 1.5})
    _styled(figure, 62 + 28 * len(rows), unit)
    ticks = [words(label) for label in rows["label"]]
    bottom = len(rows) - 0.4
    figure.update_yaxes(tickvals=list(rows.index), ticktext=ticks, range=[bottom, -0.6], showgrid=False)
    return figure


def thin(x: np.ndarray, y: np.ndarray, most: int = MOST_POINTS) -> np.ndarray:
    """Indices of at most `most` points that keep the lowest and the highest y of every stretch, so no spike is lost."""
    if len(x) <= most:
        return np.arange(len(x))
    kept = []
    for stretch in np.array_split(np.arange(len(x)), most // 2):
        part = np.where(np.isfinite(y[stretch]), y[stretch], np.inf)
        kept += [stretch[int(np.argmin(part))], stretch[int(np.argmax(np.where(np.isinf(part), -np.inf, part)))]]
    return np.unique(kept)


def smooth(y: np.ndarray, share: float) -> np.ndarray:
    """Exponential mean; `share` in [0, 1) of the past that is carried along."""
    return pd.Series(y).ewm(alpha=1 - share).mean().to_numpy() if share > 0 else y


def curves(history: pd.DataFrame, y: str, x: str, log: bool, smoothing: float, legend: bool = True) -> go.Figure:
    """One line per (recipe, seed): a colour per recipe, a dash per seed."""
    figure = go.Figure()
    dashes = ("solid", "dash", "dot", "dashdot", "longdash")
    for i, (recipe, of_recipe) in enumerate(history.groupby("recipe", sort=False)):
        for j, (seed, rows) in enumerate(of_recipe.groupby("seed")):
            xs, ys = rows[x].to_numpy(dtype=float), smooth(rows[y].to_numpy(dtype=float), smoothing)
            kept = thin(xs, ys)
            name = f"{words(recipe, 28)} · seed {seed:g}"
            line = {"color": COLOURS[i % len(COLOURS)], "dash": dashes[j % len(dashes)], "width": 1.8}
            hover = f"{name}<br>{x} %{{x:,.6g}}<br>{y} %{{y:.4g}}<extra></extra>"
            figure.add_scatter(x=xs[kept], y=ys[kept], mode="lines", name=name, line=line, hovertemplate=hover)
    _styled(figure, 340 if legend else 260, x, AXES.get(y, y), legend)
    if log:
        figure.update_yaxes(type="log")
    return figure


def bars(labels: Sequence[Any], values: Sequence[float], x: str, text: Sequence[str] | None = None) -> go.Figure:
    """Horizontal bars, the first on top."""
    figure = go.Figure(
        go.Bar(
            x=list(values),
            y=list(range(len(labels))),
            orientation="h",
            marker_color=BLUE,
            text=list(text) if text else None,
            textposition="auto",
            hovertemplate="%{x:.3g}<extra></extra>",
        )
    )
    _styled(figure, max(120, 50 + 30 * len(labels)), x)
    names = [words(label) for label in labels]
    figure.update_yaxes(tickvals=list(range(len(labels))), ticktext=names, autorange="reversed", showgrid=False)
    return figure


def trials(
    table: pd.DataFrame, x: str, y: str, x_title: str, y_title: str, star: Any = None, log_x: bool = False,
    line: tuple[float, str] | None = None, called: str = "best",
) -> go.Figure:  # fmt: skip
    """Trials as dots, a symbol and a colour per status or origin; ``star`` is ``called`` so, ``line`` a marked value of x."""
    figure = go.Figure()
    kinds = {"default": (ORANGE, "square"), "confirm": (GREEN, "diamond"), "sampled": (BLUE, "circle")}
    for origin, rows in table.groupby("origin", sort=True):
        colour, symbol = kinds.get(str(origin), (GREY, "x"))
        done = rows["status"].eq("complete")
        figure.add_scatter(
            x=rows[x],
            y=rows[y],
            mode="markers",
            name=words(origin),
            marker={"color": colour, "symbol": symbol, "size": 10, "opacity": np.where(done, 0.95, 0.4).tolist()},
            customdata=np.stack([rows["trial"], rows["rung"], rows["status"].map(words)], -1),
            hovertemplate="trial %{customdata[0]}, rung %{customdata[1]} (%{customdata[2]})<br>"
            f"{words(x_title)} %{{x:.4g}}<br>{words(y_title)} %{{y:.4g}}<extra></extra>",
        )
    if star is not None:
        figure.add_scatter(
            x=[star[x]], y=[star[y]], mode="markers", name=called,
            marker={"symbol": "star-open", "size": 20, "color": "#B8860B", "line": {"width": 2}}, hoverinfo="skip",
        )  # fmt: skip
    if line is not None:
        note = {"text": line[1], "font": {"size": 11, "color": GREY}}
        figure.add_vline(
            line[0], line={"color": GREY, "dash": "dot"}, annotation=note, annotation_position="bottom right"
        )
    _styled(figure, 320, x_title, y_title, legend=True)
    if log_x:
        figure.update_xaxes(type="log")
    return figure


def front(
    table: pd.DataFrame,
    x: str,
    y: str,
    x_title: str,
    y_title: str,
    ahead: Sequence[int],
    star: Any = None,
    cross: Any = None,
    called: str = "best",
) -> go.Figure:
    """Trials by what they cost and what they score: a stair joins those ``ahead``, which none dominates; lines cross at ``cross``."""
    figure = trials(table, x, y, x_title, y_title, star, log_x=True, called=called)
    best = table[table["trial"].isin(list(ahead))].sort_values(x)
    figure.add_scatter(
        x=best[x], y=best[y], mode="lines", name="dominated by none", hoverinfo="skip",
        line={"color": GREEN, "width": 1.5, "shape": "hv"},
    )  # fmt: skip
    if cross is not None:
        line = {"color": ORANGE, "dash": "dot", "width": 1}
        figure.add_vline(float(cross[x]), line=line)
        figure.add_hline(float(cross[y]), line=line)
    return figure


def by_group(table: pd.DataFrame, x: str, y: str, group: str, x_title: str, y_title: str, width: float) -> go.Figure:
    """Dots and a smooth curve for each value of ``group``: the mean of y under a Gaussian of ``width`` in x, where there are 3 dots."""
    figure = go.Figure()
    for i, (name, rows) in enumerate(table.groupby(group, sort=True)):
        colour, symbol = COLOURS[i % len(COLOURS)], SYMBOLS[i % len(SYMBOLS)]
        xs, ys = rows[x].to_numpy(dtype=float), rows[y].to_numpy(dtype=float)
        label = f"{words(name, 24)} (n = {len(rows)})"
        hover = f"{label}<br>{words(x_title)} %{{x:.4g}}<br>{words(y_title)} %{{y:.4g}}<extra></extra>"
        marker = {"color": colour, "symbol": symbol, "size": 9, "opacity": 0.8}
        figure.add_scatter(
            x=xs, y=ys, mode="markers", name=label, legendgroup=str(i), marker=marker, hovertemplate=hover
        )
        if len(np.unique(xs)) < 3:
            continue
        at = np.linspace(xs.min(), xs.max(), 60)
        weight = np.exp(-0.5 * ((at[:, None] - xs) / width) ** 2)
        curve = weight @ ys / weight.sum(1)
        line = {"color": colour, "width": 2}
        figure.add_scatter(
            x=at, y=curve, mode="lines", showlegend=False, legendgroup=str(i), line=line, hoverinfo="skip"
        )
    return _styled(figure, 320, x_title, y_title, legend=True)


def parallel(table: pd.DataFrame, keys: Sequence[str], score: str, title: str) -> go.Figure:
    """One line per trial through its settings, coloured by score, which is the last axis; words become places on their axis."""
    axes: list[dict[str, Any]] = []
    for key in keys:
        column = table[key]
        if pd.api.types.is_numeric_dtype(column):
            axes.append({"label": words(key, 24), "values": column.to_numpy(dtype=float)})
        else:
            names = sorted(map(str, column.dropna().unique()))
            places = column.map(lambda value, names=names: names.index(str(value)) if pd.notna(value) else np.nan)
            ticks = {"tickvals": list(range(len(names))), "ticktext": [words(name, 16) for name in names]}
            axes.append({"label": words(key, 24), "values": places.to_numpy(dtype=float), **ticks})
    values = table[score].to_numpy(dtype=float)
    axes.append({"label": words(title, 24), "values": values})
    line = {"color": values, "colorscale": "Viridis", "showscale": True}
    figure = go.Figure(go.Parcoords(dimensions=axes, line=line, labelangle=-12))
    figure.update_layout(height=340, margin={"l": 60, "r": 30, "t": 70, "b": 20})
    return figure


def schedules(table: pd.DataFrame, key: str, line: Sequence[int], title: str) -> go.Figure:
    """What each member of a population did by round; the way to the best one is drawn over the others."""
    figure = go.Figure()
    for member, rows in table.sort_values("rung").groupby("trial", sort=True):
        figure.add_scatter(
            x=rows["rung"] + 1, y=rows[key], mode="lines+markers", name=f"member {member:g}", line={"color": GREY, "width": 1},
            marker={"size": 5}, opacity=0.6, hovertemplate=f"member {member:g}<br>round %{{x}}<br>{words(key)} %{{y:.4g}}<extra></extra>",
        )  # fmt: skip
    way = table.set_index(["trial", "rung"])[key]
    steps = [(rung, member) for rung, member in enumerate(line) if (member, rung) in way.index]
    figure.add_scatter(
        x=[rung + 1 for rung, _ in steps], y=[float(way[member, rung]) for rung, member in steps], mode="lines+markers",
        name="way to the best", line={"color": BLUE, "width": 3}, hovertemplate=f"round %{{x}}<br>{words(key)} %{{y:.4g}}<extra></extra>",
    )  # fmt: skip
    return _styled(figure, 320, "round", title, legend=True)


def scatter_map(points: pd.DataFrame, x: str, y: str, classes: Sequence[str]) -> go.Figure:
    """A 2-D map of samples, a colour and a symbol per class; customdata is the sample's index in its split."""
    figure = go.Figure()
    for i, at in enumerate(sorted(int(label) for label in points["label"].unique())):
        rows = points[points["label"] == at]
        name = words(classes[at] if 0 <= at < len(classes) else "unlabelled" if at < 0 else at, 24)
        figure.add_scattergl(
            x=rows[x],
            y=rows[y],
            mode="markers",
            name=name,
            customdata=rows["index"],
            marker={"color": COLOURS[i % len(COLOURS)], "symbol": SYMBOLS[i % len(SYMBOLS)], "size": 6, "opacity": 0.8},
            hovertemplate=f"{name}<br>sample %{{customdata}}<extra></extra>",
        )
    _styled(figure, 460, legend=True)
    figure.update_xaxes(showticklabels=False, showgrid=False)
    figure.update_yaxes(showticklabels=False, showgrid=False, scaleanchor="x")
    figure.update_layout(dragmode="lasso")
    return figure


def heat(grid: np.ndarray, title: str) -> go.Figure:
    """(rows, columns) of 0 to 100 as squares, the first row on top; nothing where a place is NaN."""
    figure = go.Figure(
        go.Heatmap(
            z=grid, zmin=0, zmax=100, colorscale=[[0, PALE], [1, BLUE]], colorbar={"title": words(title)}, xgap=1, ygap=1,
            hoverongaps=False, hovertemplate="row %{y}, column %{x}: %{z:.0f} %<extra></extra>",
        )
    )  # fmt: skip
    _styled(figure, 320)
    figure.update_xaxes(showgrid=False, constrain="domain")
    figure.update_yaxes(
        showgrid=False, autorange="reversed", scaleanchor="x" if len(grid) > 1 else None, constrain="domain"
    )
    return figure


def class_balance(counts: pd.DataFrame) -> go.Figure:
    """Grouped bars: share of each class within its split (columns split, label, name, share, samples); labels keep classes apart."""
    figure = go.Figure()
    names = counts.drop_duplicates("label").sort_values("label").set_index("label")["name"]
    for i, (split, rows) in enumerate(counts.groupby("split", sort=False)):
        figure.add_bar(
            x=names.index.get_indexer(pd.Index(rows["label"])),
            y=100 * rows["share"],
            name=words(split),
            marker_color=COLOURS[i],
            customdata=[[words(name), samples] for name, samples in zip(rows["name"], rows["samples"].tolist())],
            hovertemplate=f"{words(split)}, class %{{customdata[0]}}<br>%{{customdata[1]:,}} samples (%{{y:.1f}} %)<extra></extra>",
        )
    _styled(figure, 280, "class", "% of the split", legend=True)
    places = range(0, len(names), -(-len(names) // MOST_TICKS))
    figure.update_xaxes(tickvals=list(places), ticktext=[words(names.iloc[at], 18) for at in places])
    return figure


def channels(seen: np.ndarray, filled: np.ndarray, true: np.ndarray) -> go.Figure:
    """Curves (C, T), NaN where there is nothing: one plot below another; wherever ``seen`` is NaN the ground is shaded."""
    count = len(seen)
    figure = make_subplots(count, 1, shared_xaxes=True, vertical_spacing=0.1 / count)
    for channel in range(count):
        for curve, name, colour, width in (
            (true, "truth", GREY, 1.5),
            (filled, "filled in", ORANGE, 2.5),
            (seen, "seen", "#182C52", 1.8),
        ):
            if np.isnan(curve[channel]).all():
                continue
            figure.add_scatter(
                y=joined(curve[channel], seen[channel]) if curve is not seen else curve[channel], mode="lines", name=name,
                line={"color": colour, "width": width}, row=channel + 1, col=1, hovertemplate=f"{name} %{{y:.5g}}<extra></extra>",
            )  # fmt: skip
        # plotly leaves shapes of an empty plot out: they come after the curves
        for first, last in _stretches(np.isnan(seen[channel])):
            figure.add_vrect(
                first - 0.5, last + 0.5, fillcolor=GREY, opacity=0.15, line_width=0, row=channel + 1, col=1
            )
    _styled(figure, 60 + 130 * count if count < 3 else 90 * count)
    return figure


def joined(curve: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """A curve of what is not seen, with the seen moments beside each gap, so that no line breaks off before it meets the next."""
    beside = np.zeros(len(curve), bool)
    beside[1:] |= ~np.isnan(curve[:-1])
    beside[:-1] |= ~np.isnan(curve[1:])
    return np.where(np.isnan(curve) & beside, seen, curve)


def _stretches(flags: np.ndarray) -> list[tuple[int, int]]:
    """First and last place of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return [(int(first), int(last) - 1) for first, last in edges.reshape(-1, 2)]
