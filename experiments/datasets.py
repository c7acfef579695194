"""The dataset YAML: where the files are, what they are, how they are split. Unknown keys are refused by name."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator

from experiments.names import NAME
from experiments.recipe import Section, explain
from experiments.yaml_files import parse_yaml, read_text
from mae_core.data.dataset import DatasetError
from mae_core.data.fetch import Fetched, Wanted, fetch, fetch_tree
from mae_core.data.pack import Rules, pack
from mae_core.data.sharding import LANES, MEGABYTES, WINDOW, ShardRules
from mae_core.data.sources import SOURCES
from mae_core.modalities import MODALITIES
from mae_core.registry import nearest, resolve

SHA256 = r"^[0-9a-f]{64}$"
EMBEDDED = ("package", "sklearn", "moving")
"""Sources whose data come with an installed package."""


class FileSpec(Section):
    """One file to fetch; without ``sha256`` the checksum of the first fetch is recorded and must stay."""

    path: str
    url: Annotated[str, Field(pattern=r"^(https?|file)://\S+$")]
    sha256: Annotated[str, Field(pattern=SHA256)] | None = None


class TreeSpec(Section):
    """A folder of many files, known by the checksum of its list of checksums; it has to come from a mirror."""

    manifest_sha256: Annotated[str, Field(pattern=SHA256)]


class SplitSpec(Section):
    """Shares (below 1) or numbers of samples that are cut from train where the source has no such split."""

    validation: Annotated[float, Field(gt=0, lt=1)] | Annotated[int, Field(ge=1)] | None = 0.1
    test: Annotated[float, Field(gt=0, lt=1)] | Annotated[int, Field(ge=1)] | None = None


class ShardSpec(Section):
    """How the train split is cut into shards; ``{}`` takes every default."""

    to: Annotated[str, Field(pattern=r"^$|^(s3|gs)://[^/]+(/\S*)?$")] = Field(
        "", description="s3://bucket/prefix or gs://bucket/prefix; empty: beside dataset.json"
    )
    megabytes: Annotated[float, Field(gt=0, le=1024)] = Field(MEGABYTES, description="of samples in a shard")
    lanes: Annotated[int, Field(ge=1, le=256)] = Field(LANES, description="shards that are read side by side")
    window: Annotated[int, Field(ge=1, le=256)] = Field(WINDOW, description="shards of a lane that are mixed")


class DatasetSpec(Section):
    """One file of ``experiments/datasets/``."""

    schema_: Literal[1] = Field(alias="schema")
    modality: str
    licence: str
    origin: str = Field("", description="a line on where the data come from")
    folder: str = Field("", description="its name in downloads/ and in MAESTRO_MIRROR")
    files: list[FileSpec] = Field(default_factory=list)
    tree: TreeSpec | None = None
    source: dict[str, Any] = Field(description="kind, and what that source takes")
    splits: SplitSpec = SplitSpec()
    shards: ShardSpec | None = Field(None, description="train in shards instead of one array")
    overlaps: list[str] = Field(default_factory=list)
    max_bad: Annotated[float, Field(ge=0, le=1)] = 0.05
    drop_leaks: bool = False

    @field_validator("modality")
    @classmethod
    def _modality(cls, value: str) -> str:
        if value not in MODALITIES:
            raise ValueError(
                f"unknown modality {value!r}{nearest(value, MODALITIES)}: there are {', '.join(MODALITIES)}"
            )
        return value

    @field_validator("source")
    @classmethod
    def _source(cls, value: dict[str, Any]) -> dict[str, Any]:
        kind = value.get("kind")
        if kind not in SOURCES:
            raise ValueError(f"unknown kind {kind!r}{nearest(str(kind), SOURCES)}: there are {', '.join(SOURCES)}")
        known = inspect.signature(resolve(SOURCES, kind, "source")).parameters
        takes = ["path", *list(known)[1:]]  # the first is the folder itself, which `path` replaces
        for key in value.keys() - {"kind", *takes}:
            raise ValueError(
                f"unknown option {key!r} of kind {kind}{nearest(key, takes)}: there are {', '.join(takes)}"
            )
        for key in takes[1:]:
            if key not in value and known[key].default is inspect.Parameter.empty:
                raise ValueError(f"kind {kind} needs {key!r}")
        _check_picture(value)
        return value


def _check_picture(source: dict[str, Any]) -> None:
    """Raises ValueError where ``size`` or ``channels`` of a source say nothing that pictures can become."""
    size, channels = source.get("size", [1, 1]), source.get("channels", 1)
    if not (isinstance(size, list) and len(size) == 2 and all(isinstance(side, int) and side > 0 for side in size)):
        raise ValueError(f"size {size!r}: give [rows, columns] in pixels, such as [32, 32]")
    if channels not in (1, 3):
        raise ValueError(f"channels {channels!r}: pictures become 1 (grey) or 3 (RGB)")


def parse_dataset(text: str, where: str) -> DatasetSpec:
    """A dataset description from YAML. Raises DatasetError naming each wrong key and the nearest right one."""
    raw = parse_yaml(text, where, DatasetError)
    try:
        return DatasetSpec.model_validate(raw)
    except ValidationError as problem:
        lines = "\n".join(f"  {line}" for line in explain(problem, DatasetSpec))
        raise DatasetError(f"{where}:\n{lines}") from None


def load_dataset_spec(name: str, root: Path = Path()) -> DatasetSpec:
    """The description of a dataset by name. Raises DatasetError with the nearest right one."""
    folder = root / "experiments" / "datasets"
    path = folder / f"{name}.yaml"
    names = sorted(p.stem for p in folder.glob("*.yaml"))
    if not NAME.match(name) or not path.is_file():
        raise DatasetError(f"no dataset {name!r}{nearest(name, names)}: {folder} has {', '.join(names) or 'none'}")
    return parse_dataset(read_text(path, DatasetError), str(path))


def prepare(name: str, root: Path = Path()) -> dict[str, Any]:
    """Fetches, checks, splits and packs a dataset into ``data/<name>``; returns its ``dataset.json``."""
    spec = load_dataset_spec(name, root)
    fetched = _fetch(spec, name, root)
    options = {key: value for key, value in spec.source.items() if key != "kind"}
    place = root / Path(options.pop("path")).expanduser() if "path" in options else fetched.folder
    source = resolve(SOURCES, spec.source["kind"], "source")(place, **options)
    rules = Rules(
        name=name,
        modality=spec.modality,
        licence=spec.licence,
        source=spec.origin or spec.source["kind"],
        verified=fetched.verified,
        splits={k: v for k, v in spec.splits.model_dump().items() if v is not None},
        overlaps=spec.overlaps,
        max_bad=spec.max_bad,
        drop_leaks=spec.drop_leaks,
        notes=fetched.notes,
        shards=ShardRules(**spec.shards.model_dump()) if spec.shards else None,
    )
    return pack(source, rules, root / "data" / name)


def _fetch(spec: DatasetSpec, name: str, root: Path) -> Fetched:
    mirror = os.environ.get("MAESTRO_MIRROR") or None
    folder, downloads = spec.folder or name, root / "downloads"
    if spec.tree:
        return fetch_tree(folder, spec.tree.manifest_sha256, mirror, downloads)
    if spec.files:
        wanted = [Wanted(file.path, file.url, file.sha256) for file in spec.files]
        return fetch(folder, wanted, downloads, mirror)
    return Fetched(downloads / folder, verified=spec.source["kind"] in EMBEDDED, notes=[])
