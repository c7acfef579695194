"""The read model: the one door through which the app, the report and the command line read what the pipeline wrote.

Nothing here raises for a file that is absent or broken: the reader returns an empty value and `Store.problems` gains a
record with the path, what is wrong and the command that makes the file anew. The formats are those of
docs/architecture.md; every path is resolved and must lie below the root (or in the cache of DVC, where links point).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from experiments import stages, standings, words
from experiments.columns import (
    EMBEDDING_COLUMNS,
    HISTORY_COLUMNS,
    PROXY_COLUMNS,
    QUARANTINE_COLUMNS,
    SCORE_COLUMNS,
    SKIPPED_COLUMNS,
    TRIAL_COLUMNS,
)
from experiments.declared import Declared
from experiments.stages import Heartbeat, StageState, repro
from experiments.weights_file import count_values
from mae_core.data.dataset import open_samples, samples_file

SPLITS = ("train", "validation", "test")
HEADLINE_TASKS = ("linear", "knn")  # the score shown first for a dataset, in order of preference


class Bank(NamedTuple):
    """`results/<recipe>/reconstructions/`: the fixed samples and masks, and the picture of each mask that exists."""

    images: list[dict[str, Any]]
    masks: list[dict[str, Any]]
    scores: Any
    pictures: dict[str, Path]  # mask name → PNG
    legend: str  # what the pictures show


class Model(NamedTuple):
    """A model folder and its config.json."""

    name: str  # digits/seed-0
    recipe: str
    seed: int | None
    origin: str  # models | controls
    folder: Path
    config: dict[str, Any]
    card: str
    bytes: int
    """Of its weights."""
    parameters: int


class Dataset(NamedTuple):
    """`data/<name>/dataset.json` as it stands."""

    name: str
    folder: Path
    info: dict[str, Any]

    @property
    def modality(self) -> str:
        """A row of ``MODALITIES``, if the file is sound."""
        return str(self.info.get("modality", ""))

    @property
    def layout(self) -> str:
        """'1 × 28 × 28 (channels × height × width)'; '–' where it is not told."""
        shape = (self.info.get("sample") or {}).get("shape") or []
        axes = " × ".join(map(str, self.info.get("axes") or []))
        return (" × ".join(map(str, shape)) or words.NONE) + (f" ({axes})" if axes else "")


class Champion(NamedTuple):
    """The trained model that validation ranks first on a dataset."""

    dataset: str
    recipe: str  # or transfer
    seed: int  # pretraining seed: of the recipe's, the best on validation
    folder: str  # models/digits/seed-0
    task: str
    metric: str
    validation: float  # mean over the recipe's seeds, which ranks recipes
    seed_validation: float


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """{'a': {'b': 1}} → {'a.b': 1}; lists are leaves."""
    if not isinstance(tree, dict):
        return {prefix: tree}
    found: dict[str, Any] = {}
    for key in tree:
        found.update(flat(tree[key], f"{prefix}.{key}" if prefix else str(key)))
    return found


def last_rungs(trials: pd.DataFrame) -> pd.DataFrame:
    """The longest rung of each trial that has a score, searched trials alone (not the confirming runs)."""
    scored = trials[trials["score"].notna() & trials["origin"].ne("confirm")]
    return scored.sort_values(["trial", "rung"]).drop_duplicates("trial", keep="last").reset_index(drop=True)


def best_trial(trials: pd.DataFrame) -> Any:
    """The row of the best score among trials of the longest rung, None where there is none: shorter ones were judged on less."""
    last = last_rungs(trials)
    last = last[last["rung"] == last["rung"].max()] if len(last) else last
    return None if last.empty else last.iloc[int(last["score"].to_numpy().argmax())]


def whole_png(file: Path) -> bool:
    """Whether a file begins and ends as a PNG does; the pixels are left to whoever draws them."""
    with file.open("rb") as stream:
        head = stream.read(8)
        stream.seek(max(0, file.stat().st_size - 8))
        return head == b"\x89PNG\r\n\x1a\n" and stream.read(8)[:4] == b"IEND"


class Store(Declared):
    """Everything on disk below one project root, read on demand; `problems` collects what could not be read."""

    # Experiments

    def config(self, recipe: str) -> dict[str, Any]:
        """Dotted keys of what the model really was (config.json); before there is one, the recipe with best.yaml."""
        for seed in self.folders("models", recipe):
            found = self.document(("models", recipe, seed, "config.json"), repro("pretrain", recipe), schema=False)
            if found:
                settings = flat({k: v for k, v in found.items() if k not in ("provenance", "schema")})
                return {k: v for k, v in settings.items() if not k.endswith((".mean", ".std"))}
        recipe_file = ("experiments", "recipes", f"{recipe}.yaml")
        found = self.read("yaml", recipe_file, f"git checkout {'/'.join(recipe_file)}", needed=False)
        return {**flat(found), **self.best(recipe)} if isinstance(found, dict) else {}

    def best(self, recipe: str) -> dict[str, Any]:
        """The searched keys of the winner, dotted; {} when search is off."""
        found = self.read("yaml", ("results", recipe, "best.yaml"), repro("search", recipe), needed=False)
        return flat(found) if isinstance(found, dict) and found else {}

    # Results

    def scores(self, recipe: str | None = None) -> pd.DataFrame:
        """The long table of one recipe, or of all: SCORE_COLUMNS, `value` a fraction in [0, 1] for accuracies."""
        frames = []
        for name in [recipe] if recipe is not None else self.recipe_names():
            command = self.scoring(name)
            frame = self.table(("results", name, "scores.csv"), SCORE_COLUMNS, command)
            bad = ~np.isfinite(frame["value"].to_numpy(dtype=float))
            if bad.any():
                self.problem(f"results/{name}/scores.csv", f"{bad.sum()} rows have no finite value", command, "corrupt")
                frame = frame[~bad]
            if len(frame):
                frames.append(frame[SCORE_COLUMNS])
        if not frames:
            return pd.DataFrame(columns=SCORE_COLUMNS)
        table = pd.concat(frames, ignore_index=True)
        whole = ["labels_per_class", "pretrain_seed", "probe_seed", "n_train", "n_test"]
        return table.astype(dict.fromkeys(whole, "Float64")).astype(dict.fromkeys(whole, "Int64"))

    def dataset_of(self, recipe: str) -> str:
        """The dataset that the scores of a recipe are of; before there are any, the one that params.yaml gives it now."""
        scores = self.scores(recipe)
        if len(scores):
            return str(scores["dataset"].iloc[0])
        return next((r.dataset for r in self.recipes() if r.name == recipe), "")

    def scores_stamp(self) -> tuple[tuple[str, int, int], ...]:
        """Name, time and size of every scores.csv: what a cached leaderboard is good for."""
        found = []
        for name in self.recipe_names():
            full = self.path("results", name, "scores.csv")
            if full is not None and full.is_file():
                stat = full.stat()
                found.append((name, stat.st_mtime_ns, stat.st_size))
        return tuple(found)

    def leaderboard(
        self,
        task: str,
        metric: str,
        dataset: str,
        split: str = "test",
        labels_per_class: int | None = None,
        baseline: tuple[str, str] | None = None,
    ) -> pd.DataFrame:
        """See `experiments.standings.leaderboard`."""
        return standings.leaderboard(self.scores(), task, metric, dataset, split, labels_per_class, baseline)

    def headlines(self) -> list[dict[str, Any]]:
        """Per dataset: the task shown first (linear, else k-NN), and its test leaderboard under `table`."""
        scores = self.scores()
        found = []
        for dataset in sorted(scores["dataset"].unique()):
            for task in HEADLINE_TASKS:
                table = standings.leaderboard(scores, task, "accuracy", dataset, "test")
                if (table["model"] == "pretrained").any():
                    found.append({"dataset": dataset, "task": task, "metric": "accuracy", "table": table})
                    break
        return found

    def champions(self) -> list[Champion]:
        """One per dataset that has validation scores of trained models, by the task of `headlines`; test scores have no say."""
        scores, found = self.scores(), []
        for dataset in sorted(scores["dataset"].unique()):
            for task in HEADLINE_TASKS:
                table = standings.leaderboard(scores, task, "accuracy", dataset, "validation")
                table = table[table["model"].eq("pretrained") & table["rank"].notna()]
                if table.empty:
                    continue
                first = table.iloc[0]
                rows = standings.pick(scores, task, "accuracy", dataset, "validation", None)
                rows = rows[rows["recipe"].eq(first["recipe"]) & rows["model"].eq("pretrained")]
                by_seed = rows["value"].groupby(rows["pretrain_seed"].fillna(0).astype(int)).mean()
                seed = int(by_seed.index[int(by_seed.argmax())])
                numbers = (float(first["value"]), float(by_seed[seed]))
                folder = f"models/{self.source(str(first['recipe']))}/seed-{seed}"
                found.append(Champion(str(dataset), str(first["recipe"]), seed, folder, task, "accuracy", *numbers))
                break
        return found

    def skipped(self, recipe: str) -> pd.DataFrame:
        """What could not run and why, and what to know of what ran (`words.caveats`)."""
        return self.table(("results", recipe, "skipped.csv"), SKIPPED_COLUMNS, self.scoring(recipe), needed=False)

    def history(self, recipe: str) -> pd.DataFrame:
        """Training curves, one row per logged step and seed."""
        return self.table(("results", recipe, "history.csv"), HISTORY_COLUMNS, repro("pretrain", recipe))

    def trials(self, recipe: str) -> pd.DataFrame:
        """One row per trial and rung, with one column per searched key."""
        parts, command = ("results", recipe, "trials.parquet"), repro("search", recipe)
        return self.table(parts, TRIAL_COLUMNS, command, kind="parquet")

    def search_summary(self, recipe: str) -> dict[str, Any]:
        """search.json, {} where there is none."""
        return self.document(("results", recipe, "search.json"), repro("search", recipe), known=(1, 2))

    def no_search(self, recipe: str) -> str:
        """Why there is no search of a recipe to read: the files that are damaged, or what makes them."""
        return "\n".join(self.not_read()) or f"no search of {recipe} is here: run `{repro('search', recipe)}`"

    def proxies(self, recipe: str) -> pd.DataFrame:
        """proxies.csv: how well each proxy ranked the trials."""
        parts, command = ("results", recipe, "proxies.csv"), repro("search", recipe)
        return self.table(parts, PROXY_COLUMNS, command, needed=False)

    def embeddings(self, recipe: str) -> pd.DataFrame:
        """2-D maps of the test samples, seed 0."""
        parts, command = ("results", recipe, "embeddings.parquet"), repro("evaluate", recipe)
        return self.table(parts, EMBEDDING_COLUMNS, command, kind="parquet")

    def reconstruction_bank(self, recipe: str) -> Bank:
        """The pre-rendered reconstructions; a mask whose picture is absent is named in `problems`."""
        parts, command = ("results", recipe, "reconstructions"), repro("evaluate", recipe)
        found = self.document((*parts, "bank.json"), command)
        masks = [m for m in found.get("masks", []) if isinstance(m, dict) and isinstance(m.get("name"), str)]
        pictures = {}
        for mask in masks:
            full = self.path(*parts, f"{mask['name']}.png")
            shown = "/".join((*parts, f"{mask['name']}.png"))
            if full is None:
                continue
            if not full.is_file():
                self.problem(shown, "not there yet", command, "missing")
            elif not whole_png(full):
                self.problem(shown, "not a whole PNG file", command, "corrupt")
            else:
                pictures[mask["name"]] = full
        images = [i for i in found.get("images", []) if isinstance(i, dict)]
        return Bank(images, masks, found.get("scores", {}), pictures, str(found.get("legend", "")))

    # Models and data

    def models(self) -> list[Model]:
        """Every model folder below models/ and controls/, by recipe and seed; one without config or whole weights is a Problem."""
        found = []
        for origin, stage in (("models", "pretrain"), ("controls", "controls")):
            for recipe in self.folders(origin):
                for name in self.folders(origin, recipe):
                    command = repro(stage, recipe)
                    config = self.document((origin, recipe, name, "config.json"), command, schema=False)
                    weights = self.path(origin, recipe, name, "model.safetensors")
                    if not config:
                        continue
                    if weights is None or not weights.is_file():
                        self.problem(f"{origin}/{recipe}/{name}/model.safetensors", "not there yet", command, "missing")
                        continue
                    try:
                        values = count_values(weights)
                    except (ValueError, OSError) as error:
                        what = f"not readable: {error}"[:200]
                        self.problem(f"{origin}/{recipe}/{name}/model.safetensors", what, command, "corrupt")
                        continue
                    card = self.read("text", (origin, recipe, name, "card.md"), command, needed=False) or ""
                    last = name.rpartition("-")[2]
                    seed = int(last) if last.isdecimal() else None
                    label, size = f"{recipe}/{name}", weights.stat().st_size
                    found.append(Model(label, recipe, seed, origin, weights.parent, config, card, size, values))
        return sorted(found, key=lambda m: (m.origin != "models", m.recipe, m.seed is None, m.seed or 0, m.name))

    def datasets(self) -> list[Dataset]:
        """Every prepared dataset, and a Problem for each declared one that is not there."""
        declared = [str(name) for name in self.params().get("datasets") or []]
        names = declared + [name for name in self.folders("data") if name not in declared]
        found = []
        for name in names:
            info = self.document(("data", name, "dataset.json"), repro("prepare", name), needed=name in declared)
            if info:
                found.append(Dataset(name, self.root / "data" / name, info))
        return found

    def samples(self, dataset: str, split: str) -> tuple[np.ndarray, np.ndarray] | None:
        """(n, …) raw samples, mapped or in shards, and (n,) int64 labels of one split, or None with a Problem."""
        arrays = []
        command = repro("prepare", dataset)
        for part in ("samples", "labels"):
            name = f"{split}-labels.npy" if part == "labels" else self.samples_file(dataset, split)
            full, shown = self.path("data", dataset, name), f"data/{dataset}/{name}"
            if full is None:
                return None
            if not full.is_file():
                self.problem(shown, "not there yet", command, "missing")
                return None
            try:
                arrays.append(open_samples(full))
            except (ValueError, OSError, EOFError) as error:
                self.problem(shown, f"not readable: {error}"[:200], command, "corrupt")
                return None
        samples, labels = arrays
        said = self.document(("data", dataset, "dataset.json"), command, needed=False).get("sample") or {}
        shape, dtype = tuple(said.get("shape") or samples.shape[1:]), str(said.get("dtype", samples.dtype))
        if len(samples) != len(labels) or samples.shape[1:] != shape or str(samples.dtype) != dtype:
            what = f"is no array of {dtype} samples of the shape {shape} with one label each"
            self.problem(f"data/{dataset}/{split}-samples.npy", what, command, "corrupt")
            return None
        return samples, labels

    def samples_file(self, dataset: str, split: str) -> str:
        """The name of the file by which the samples of a split are opened."""
        return samples_file(self.root / "data" / dataset, split).name

    def quarantine(self, dataset: str) -> pd.DataFrame:
        """Files set aside by prepare, with the reason."""
        parts = ("data", dataset, "quarantine.csv")
        return self.table(parts, QUARANTINE_COLUMNS, repro("prepare", dataset), needed=False)

    # The pipeline

    def heartbeats(self, now: float | None = None) -> list[Heartbeat]:
        """Every run folder's last sign of life, newest first."""
        return stages.heartbeats(self.root / "runs", now)

    def pipeline_state(self, now: float | None = None) -> list[StageState]:
        """What each stage of dvc.yaml is: done, stale, running, failed, crashed or missing. DVC is not started."""
        try:
            return stages.pipeline_state(self.root, self.heartbeats(now))
        except stages.Unreadable as error:
            self.problem(error.path, error.what, f"git checkout {error.path}", "corrupt")
            return []

    def timings(self) -> pd.DataFrame:
        """runs/*/timing.json as one table, the newest last: run, stage, recipe, seconds, samples_per_s, device …"""
        rows = []
        files = [
            file for run in self.folders("runs") if (file := self.path("runs", run, "timing.json")) and file.is_file()
        ]
        for file in sorted(files, key=lambda file: (file.stat().st_mtime_ns, file.parent.name)):
            run = file.parent.name
            found = self.document(("runs", run, "timing.json"), "dvc repro", needed=False, schema=False)
            if found:
                stage, recipe = stages.split_run_name(run)
                rows.append({"run": run, "stage": stage, "recipe": recipe, **found})
        return pd.DataFrame(rows, columns=None if rows else ["run", "stage", "recipe", "seconds"])
