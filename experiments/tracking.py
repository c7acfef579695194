"""MLflow: the only file that talks to it. Files are the truth, MLflow is a view of them, written by the driver process alone.

Experiment ``maestro`` → one run per recipe → one run per stage (search, pretrain, controls, evaluate, transfer) → one per trial or seed.
A run is found again by what it is (recipe, stage, fingerprint, name), so the same work written twice is one run. Where MLflow is absent,
locked or down there is one warning on stderr and work goes on; ``experiments.publish.backfill`` writes from files what was missed.
"""

from __future__ import annotations

import fcntl
import json
import logging
import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.bounded import Bounded
from experiments.places import Place, facts, identity, model_name, place, redacted, safe, weights_digest
from mae_core.atomic import write_text

SCHEMA = 1
EXPERIMENT = "maestro"
ALIAS = "champion"
PATIENCE = 30.0
"""Seconds a call may take; MLflow itself waits 20 s for a locked sqlite file."""
SLOWEST_UPLOAD = 2**20
"""Bytes a second: uploads are given this much time beyond PATIENCE."""
FLUSH_SECONDS = 30.0
MOST_METRICS, MOST_PARAMS, LONGEST_VALUE, LONGEST_DIGEST = 900, 100, 6000, 36  # MLflow: 1000 things in a batch
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
}
"""Environment of MLflow, where the user has not set it."""
LOUD = ("mlflow.store.db.utils", "mlflow.tracking", "alembic", "urllib3.connectionpool")


class Link:
    """One connection of this process to one place. ``off`` says why it is not used any more, '' while it is."""

    def __init__(self, where: Place) -> None:
        self.where, self.experiment, self.off = where, "", ""
        self.client: Any = None
        if os.environ.get("MAESTRO_MLFLOW", "").lower() == "off":
            self.off = "MAESTRO_MLFLOW=off"
            return
        if where.note:
            print(f"MLflow: {where.note}", file=sys.stderr)
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        try:
            import mlflow  # noqa: F401
        except Exception as problem:  # an install can be broken in many ways, and none of them may stop a training
            self._give_up(f"it cannot be imported: {type(problem).__name__}: {problem}")
            return
        for name in LOUD:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._bounded = Bounded("mlflow")
        self.ask(self._connect)

    def _connect(self) -> None:
        from mlflow import MlflowClient

        with self.alone():
            self._make_database()
            client = MlflowClient(tracking_uri=self.where.uri, registry_uri=self.where.uri)
            found = client.get_experiment_by_name(EXPERIMENT)
            folder = self.where.artifacts.as_uri() if self.where.artifacts else None
            if found is not None and folder and found.artifact_location.rstrip("/") != folder:
                raise RuntimeError(
                    f"{redacted(self.where.uri)} keeps its artifacts in {found.artifact_location}, but the project lies "
                    "elsewhere now: remove the database, then write it anew"
                )
            self.experiment = found.experiment_id if found else client.create_experiment(EXPERIMENT, folder)
            self.client = client

    def _make_database(self) -> None:
        """A new sqlite file, made in memory: its 50 migrations wait for the disk at each of 1700 statements otherwise."""
        from mlflow import MlflowClient

        file = Path(self.where.uri.removeprefix("sqlite:///"))
        memory = Path("/dev/shm")
        if not self.where.uri.startswith("sqlite:////") or file.exists() or not os.access(memory, os.W_OK):
            return
        with tempfile.TemporaryDirectory(dir=memory) as folder:
            made = Path(folder) / file.name
            MlflowClient(tracking_uri=f"sqlite:///{made}", registry_uri=f"sqlite:///{made}").search_experiments()
            file.parent.mkdir(parents=True, exist_ok=True)
            staging = file.with_name(f".{file.name}.new")
            shutil.copyfile(made, staging)
            os.replace(staging, file)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One process at a time: making databases and runs is a race otherwise."""
        with open(self.where.home / "mlflow.db.lock", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def ask(self, function: Callable[[], Any], more_seconds: float = 0.0) -> Any:
        """``function()``, or None once anything has gone wrong: the first failure warns and ends the connection."""
        if self.off:
            return None
        try:
            return self._bounded.call(function, PATIENCE + more_seconds)
        except Exception as problem:  # a view must never stop the work that it shows
            self._give_up(f"{type(problem).__name__}: {' '.join(str(problem).split())[:300]}")
            return None

    def _give_up(self, reason: str) -> None:
        self.off = reason.replace(self.where.uri, redacted(self.where.uri))
        print(
            f"MLflow: not written from here on ({self.off}). Nothing is lost: results are in files, and "
            "`maestro mlflow-backfill` writes them to MLflow later. MAESTRO_MLFLOW=off switches MLflow off.",
            file=sys.stderr,
        )


LINKS: dict[str, Link] = {}
"""One per place in this process, so that a place that is down is asked once."""


class Found(NamedTuple):
    """A run at MLflow, and what it held when it was opened."""

    run_id: str
    metrics: dict[str, float]
    params: set[str]
    ended: int | None  # ms; where it was finished before


NOWHERE = Found("", {}, set(), None)


class Tracker:
    """One MLflow run: of a stage (``start``), or of one of its seeds or trials (``child``). Every call is safe and bounded in time.

    As a context manager it ends its run as FINISHED, or as FAILED where the block raises.
    """

    def __init__(self, root: Path, recipe: str, stage: str, fingerprint: str, uri: str | None = None) -> None:
        self.root, self.recipe, self.stage, self.fingerprint = root.resolve(), recipe, stage, fingerprint
        self.where, self.dataset, self.nonfinite = place(root, uri), "", 0
        self._run = self._top = NOWHERE
        self._over = False
        self._children: dict[str, str] = {}
        self._seen: dict[str, set[int]] = {}
        self._params: dict[str, str] = {}
        self._points: list[tuple[str, float, int, int]] = []
        self._flushed = time.monotonic()

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.finish("FAILED" if kind else "FINISHED")

    @property
    def link(self) -> Link:
        """The connection; its first use imports MLflow."""
        if self.where.uri not in LINKS:
            LINKS[self.where.uri] = Link(self.where)
        return LINKS[self.where.uri]

    @property
    def on(self) -> bool:
        """Whether calls reach MLflow."""
        return bool(self._run.run_id) and not self.link.off

    @property
    def run_id(self) -> str:
        """MLflow's name of the run, '' where there is none."""
        return self._run.run_id

    def start(
        self,
        params: dict[str, Any],
        tags: dict[str, Any] | None = None,
        dataset: dict[str, Any] | None = None,
        started: float | None = None,
    ) -> Tracker:
        """Finds or makes the recipe's run and this stage's below it. ``dataset``: a dataset.json; ``started``: Unix s, default now."""
        self.dataset = str((dataset or {}).get("name", ""))
        common = {"mae.recipe": self.recipe, **facts(self.root, dataset)}
        self._top = self._open((), self.recipe, {**common, "mae.stage": "recipe"}, "", started)
        own = {**common, "mae.stage": self.stage, "mae.fingerprint": self.fingerprint, **(tags or {})}
        key = (self.stage, self.fingerprint)
        self._run = self._open(key, f"{self.stage} {self.recipe}", own, self._top.run_id, started)
        self._hold(params)
        self._flush()
        if dataset:
            self._log_dataset(dataset)
        return self

    def child(self, name: str, params: dict[str, Any] | None = None, tags: dict[str, Any] | None = None) -> Tracker:
        """The run of one seed or trial below this one, which has been started. Its caller finishes it."""
        one = Tracker(self.root, self.recipe, self.stage, self.fingerprint, self.where.uri)
        one.dataset = self.dataset
        if self.on:
            own = {"mae.recipe": self.recipe, "mae.stage": self.stage, "mae.fingerprint": self.fingerprint}
            own |= {"mae.name": name, **(tags or {})}
            one._run = one._open((self.stage, self.fingerprint, name), name, own, self.run_id, None)
            one._hold(params or {})
            self._children[name] = one.run_id
        return one

    def _open(self, key: tuple[str, ...], name: str, tags: dict[str, Any], parent: str, started: float | None) -> Found:
        """The run of this recipe and key, made where there is none; NOWHERE while MLflow is off."""
        who = identity(self.recipe, *key)
        shown = {safe(k): str(v)[:LONGEST_VALUE] for k, v in tags.items()} | {"mae.identity": who}
        shown |= {"mlflow.parentRunId": parent} if parent else {}

        def find_or_make() -> Found:
            from mlflow.entities import RunTag

            client, experiment = self.link.client, self.link.experiment
            with self.link.alone():
                runs = client.search_runs([experiment], f"tags.`mae.identity` = '{who}'", max_results=1)
                if not runs:
                    begun = int(1000 * (started or time.time()))
                    made = client.create_run(experiment, begun, shown, safe(name))
                    return Found(made.info.run_id, {}, set(), None)
            old = runs[0]
            client.update_run(old.info.run_id, status="RUNNING")
            client.log_batch(old.info.run_id, tags=[RunTag(k, v) for k, v in shown.items()])
            ended = old.info.end_time if old.info.status == "FINISHED" else None
            return Found(old.info.run_id, dict(old.data.metrics), set(old.data.params), ended)

        return self.link.ask(find_or_make) or NOWHERE

    def _send(self, method: str, *arguments: Any, more_seconds: float = 0.0, **named: Any) -> Any:
        """One method of MLflow's client, or None where MLflow is off."""
        return self.link.ask(lambda: getattr(self.link.client, method)(*arguments, **named), more_seconds)

    def _hold(self, params: dict[str, Any]) -> None:
        """Params go with the first batch: a commit of sqlite is the dearest part of a small run."""
        known = self._run.params
        self._params |= {safe(k): str(v)[:LONGEST_VALUE] for k, v in params.items() if safe(k) not in known}

    def _log_dataset(self, dataset: dict[str, Any]) -> None:
        if self.on:
            from mlflow.entities import Dataset, DatasetInput, InputTag

            shown = {key: dataset[key] for key in ("splits", "sample", "licence") if key in dataset}
            digest = str(dataset.get("fingerprint", "unknown"))[:LONGEST_DIGEST]
            source = json.dumps({"source": dataset.get("source", "")})
            item = Dataset(self.dataset, digest, "local", source, profile=json.dumps(shown))
            context = InputTag("mlflow.data.context", self.stage)
            self._send("log_inputs", self.run_id, [DatasetInput(item, [context])])

    def metrics(self, rows: Iterable[dict[str, Any]], prefix: str = "") -> None:
        """Numbers of each row by name, at the row's ``step`` (0 where it has none); sent in batches every 30 s and by ``finish``.

        A value that is not finite is counted, never sent. A step that the run holds already is not sent again.
        """
        if not self.on:
            return
        now = int(1000 * time.time())
        for row in rows:
            for key, value in row.items():
                if key == "step" or value is None or isinstance(value, bool | str):
                    continue
                name, number = safe(prefix + key), float(value)
                if not math.isfinite(number):
                    self.nonfinite += 1
                elif not self._has(name, row.get("step"), number):
                    self._points.append((name, number, now, int(row.get("step", 0))))
        if len(self._points) >= MOST_METRICS or time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._flush()

    def _has(self, name: str, step: Any, number: float) -> bool:
        if name not in self._run.metrics or step is None:
            return self._run.metrics.get(name) == number
        if name not in self._seen:
            history = self._send("get_metric_history", self.run_id, name)
            self._seen[name] = {point.step for point in history or []}
        return int(step) in self._seen[name]

    def _flush(self) -> None:
        self._flushed = time.monotonic()
        (points, self._points), (params, self._params) = (self._points, []), (self._params, {})
        if not self.on or not (points or params):
            return
        from mlflow.entities import Metric, Param

        batches = max(math.ceil(len(points) / MOST_METRICS), math.ceil(len(params) / MOST_PARAMS))
        metrics, settings = [Metric(*point) for point in points], [Param(k, v) for k, v in params.items()]
        for i in range(batches):
            some = metrics[i * MOST_METRICS : (i + 1) * MOST_METRICS]
            of_them = settings[i * MOST_PARAMS : (i + 1) * MOST_PARAMS]
            self._send("log_batch", self.run_id, metrics=some, params=of_them)

    def image(self, picture: Path | np.ndarray, name: str) -> None:
        """A picture, as a PNG file or (H, W) or (H, W, 3) uint8, under ``images/<name>.png``."""
        if not self.on:
            return
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"{safe(name).replace('/', '_')}.png"
            if isinstance(picture, Path):
                if not picture.is_file():
                    return
                file.symlink_to(picture.resolve())
            else:
                from PIL import Image

                Image.fromarray(picture).save(file)
            self.artifact(file, "images")

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Copies a file, or a folder with all that is in it; one that is not there is passed over."""
        if not self.on or not path.exists():
            return
        files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
        seconds = sum(file.stat().st_size for file in files) / SLOWEST_UPLOAD
        if path.is_dir():
            inside = f"{folder}/{path.name}" if folder else path.name
            self._send("log_artifacts", self.run_id, str(path), inside, more_seconds=seconds)
        else:
            self._send("log_artifact", self.run_id, str(path), folder, more_seconds=seconds)

    def model(self, folder: Path, metrics: dict[str, float] | None = None, dataset: str = "") -> str:
        """Registers a model folder as a version of ``maestro-<dataset>``, or finds the one with its weights. '' where MLflow is off."""
        if not self.on or not (folder / "model.safetensors").is_file():
            return ""
        name, digest = model_name(dataset or self.dataset), weights_digest(folder)
        version = self._version(name, digest)
        if not version and self.on:
            self.artifact(folder, "model")
            tags = {"mae.weights": digest, "mae.recipe": self.recipe, "mae.name": folder.name}
            tags["mae.fingerprint"] = self.fingerprint
            version = self.link.ask(lambda: self._register(name, f"model/{folder.name}", tags)) or ""
        for key, value in (metrics or {}).items():
            if version and math.isfinite(value):
                self._send("set_model_version_tag", name, version, safe(key), f"{value:.6g}")
        return version

    def _version(self, name: str, digest: str) -> str:
        found = self._send("search_model_versions", f"name = '{name}'") or []
        return next((str(one.version) for one in found if one.tags.get("mae.weights") == digest), "")

    def _register(self, name: str, inside: str, tags: dict[str, str]) -> str:
        client = self.link.client
        with self.link.alone():
            if not client.search_registered_models(f"name = '{name}'"):
                client.create_registered_model(name)
        source = f"{client.get_run(self.run_id).info.artifact_uri}/{inside}"
        return str(client.create_model_version(name, source, self.run_id, tags, await_creation_for=0).version)

    def champion(self, folder: Path, metrics: dict[str, float] | None = None, dataset: str = "") -> None:
        """Moves the alias ``champion`` of ``maestro-<dataset>`` to this model, the one that validation ranks first."""
        version = self.model(folder, metrics, dataset)
        if version:
            self._send("set_registered_model_alias", model_name(dataset or self.dataset), ALIAS, version)

    def finish(self, status: str = "FINISHED", ended: float | None = None) -> None:
        """Sends what waits and ends the run, once: FINISHED, FAILED or KILLED. ``ended``: Unix s, default now."""
        if not self.on or self._over:
            return
        self._over = True
        if self.nonfinite:
            self.metrics([{"nonfinite_values": self.nonfinite}])
        self._flush()
        at = int(1000 * ended) if ended else self._run.ended
        self._send("set_terminated", self.run_id, status, at)
        if self._top.run_id:
            self._send("set_terminated", self._top.run_id, status, at)
            self._remember()

    def _remember(self) -> None:
        """``runs/<stage>-<recipe>-<fingerprint>/mlflow.json``: ids, in a file that no stage reads."""
        folder = f"{self.stage}-{self.recipe}-{self.fingerprint}"
        if self.on and "/" not in folder:
            ids = {"parent": self._top.run_id, "run": self.run_id, "children": self._children}
            shown = {"schema": SCHEMA, "uri": redacted(self.where.uri), "experiment": self.link.experiment, **ids}
            write_text(self.root / "runs" / folder / "mlflow.json", json.dumps(shown, indent=2))
