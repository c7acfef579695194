"""``python -m benchmarks.performance``: what the benchmarks of speed had measured, as docs/performance.md.

Reads benchmarks/out/. Nothing is measured here, and nothing that was not measured is written.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.accuracy import CONTESTANTS
from benchmarks.app import PAGES as APP
from benchmarks.rows import OUT
from benchmarks.sections import renew
from benchmarks.waiting import WAITING
from mae_core.evaluation.statistics import LEAST_SEEDS

PAGES = {
    "step": "A training step, one thread",
    "allocator": "Memory kept between steps",
    "step_2_threads": "A training step, two threads",
    "accuracy": "Time to an accuracy",
    "evaluation": "Probes and feature extraction",
    "data": "Loading photographs",
    "waiting": "Waiting for data, shares of the time of a step on one thread; photographs are decoded on another core",
    "shards": "Data larger than memory",
    "scale": "Threads and workers",
    "ray_overhead": "What Ray costs",
    "trial_overhead": "What a trial of a search costs beside its training",
    "masks": "A mask, one thread",
    "gpu": "One GPU",
    "many_gpus": "Many GPUs, on paper",
    "app": "Pages of the app",
    "forecasting": "Forecasts before a run",
    "scaling": "Forecasts of larger runs from small ones",
}
"""Benchmarks of speed, in the order of the page, and their headings."""
AIMS = {
    "a_ours_bf16_vs_vitmae_eager_fp32_cpu_s_per_step": 2.1,
    "b_ours_bf16_vs_vitmae_eager_fp32_cpu_s_per_step": 2.0,
    "a_ours_bf16_vs_vitmae_eager_bf16_cpu_s_per_step": 1.0,
    "b_ours_bf16_vs_vitmae_eager_bf16_cpu_s_per_step": 1.0,
    "a_ours_bf16_vs_vitmae_sdpa_bf16_cpu_s_per_step": 1.0,
    "b_ours_bf16_vs_vitmae_sdpa_bf16_cpu_s_per_step": 1.0,
    "a_ours_alike_bf16_vs_vit_pytorch_bf16_cpu_s_per_step": 1.0,
    "b_ours_alike_bf16_vs_vit_pytorch_bf16_cpu_s_per_step": 1.0,
    "a_encoder_75_hidden_vs_none_s_per_batch": 3.0,
    "b_encoder_75_hidden_vs_none_s_per_batch": 3.0,
    "a_recomputed_vs_kept_s_per_step": 1 / 1.35,
    "b_recomputed_vs_kept_s_per_step": 1 / 1.35,
    "a_recomputed_vs_kept_peak_mb": 1 / 0.35,
    "b_recomputed_vs_kept_peak_mb": 1 / 0.35,
    "vit_b_ours_compiled_vs_vitmae_eager_ms_per_step": 2.0,
    "vit_l_ours_compiled_vs_vitmae_eager_ms_per_step": 2.0,
    "soft_224x224_decode_crop_flip_vs_pillow_ms_per_image": 2.5,
    "real_224x224_decode_crop_flip_vs_pillow_ms_per_image": 2.5,
    "busy_224x224_decode_crop_flip_vs_pillow_ms_per_image": 2.5,
    "a_extraction_vs_best_product_gflop_per_cpu_s": 0.55,
    "b_extraction_vs_best_product_gflop_per_cpu_s": 0.55,
    **{f"{arm}_vs_memory_s_per_step": 0.7 for arm in ("disk", "s3", "ray_data")},
    **{f"{name}_vs_limit": 1.0 for name in WAITING},
    **{f"app_{page}_vs_limit_s": 1.0 for page in APP},
    **{
        f"{data}_ours_vs_{peer}_cpu_s_to_its_last_accuracy": 2.0
        for data in ("mnist", "cifar10_subset")
        for peer in CONTESTANTS[1:]
    },
}
"""By row: the least gain that is aimed at."""
AT_MOST = {
    "probes_vs_scikit_learn_wall_s": 20.0,
    "median_error_of_cpu_time_from_machine_vs_own_steps": 0.15,
    "median_error_of_peak_memory_from_machine_vs_own_steps": 0.15,
}
"""By row: the most that ours should take."""
MORE_IS_BETTER = ("accuracy_vs", "gflop_per", "loss_cpu", "loss_cuda", "forecast", "largest_run_error")
"""Words in the names of rows whose gain is the ratio itself; of all others it is its inverse, since less is better."""
HEAD = "| what | ours | beside it | theirs | gain | aim |\n|---|---|---|---|---|---|\n"
INTRODUCTION = """# Performance

Made by `python -m benchmarks.performance` from what the benchmarks had measured; edit nothing here by hand. A section is written anew
where its figures were measured, and stays elsewhere.

*Gain* says how many times as fast ours is, or how many times less memory it takes, or, of accuracies, forecasts and rates of work, ours
over theirs: the geometric mean over the n rounds, in each of which both were measured in turn, with Student's 95 % interval, where there
are three rounds. Sections made before say the median and a bootstrap interval of it, which covers 75 % at three rounds, 50 % at two and 87
to 95 % at more. Times are CPU time of the process on one thread unless the unit says `wall`; other programs change that little, but for
one on the same core's other thread. `a` is a ViT-Ti on pictures of 32 px (batch 256), `b` a ViT-S on 224 px (batch 16); both hide 75 %.
Where the two sides differ in precision, the gain is that of bf16 as well: the row of `vitmae eager bf16` against `vitmae eager fp32` says
how much of it anybody gets from bf16 alone.

`ours alike` predicts plain pixels and has no global token, as vit-pytorch. Nobody can be much faster there in bf16: matrix products
take two thirds of a step, at 65 to 100 % of the best rate that this processor reaches on squares of 1024.

*Time to an accuracy* says how soon k-NN on ours is as good as on the other at the end of its training; where it never is with some seed,
with how many, and `ours` is all it took. That is no matter of steps: with the others' objective and masks ours ends about where they end.
It comes of `objective.variance` and `objective.covariance`, which keep features apart for next to nothing, of keys that start as queries
(`local_start`) and, on MNIST, of fewer hidden cells, in a grid.
"""


class Line(NamedTuple):
    """One comparison as it is read."""

    what: str
    ours: str
    other: str
    theirs: str
    gain: str
    aim: str


def gain(row: dict[str, Any]) -> tuple[float, float | None, float | None]:
    """Of a row that has a ratio: its middle and, where one was measured, both ends of its interval; above 1 ours is better."""
    ratio, low, high = row["ratio"], row["low"], row["high"]
    if any(word in row["name"] for word in MORE_IS_BETTER):
        return ratio, low, high
    return 1 / ratio, None if high is None else 1 / high, None if low is None else 1 / low


def line(row: dict[str, Any]) -> Line:
    """A row of a benchmark."""
    what, _, rest = row["name"].partition("_vs_")
    other, unit = split_unit(rest)
    return Line(
        f"{what.replace('_', ' ')}{f' ({unit})' if unit else ''}",
        f"{row['ours']:.4g}",
        other.replace("_", " "),
        f"{row['baseline']:.4g}",
        gained(row),
        aimed(row),
    )


def gained(row: dict[str, Any]) -> str:
    """The gain with its interval; of a row without one in how many rounds ours never was where the other ended."""
    if row["ratio"] is None:
        return f"not reached in {row['facts']['not_reached']} of {row['n']}"
    middle, low, high = gain(row)
    unknown = low is None or high is None or row["n"] < LEAST_SEEDS
    return f"× {middle:.2f}" + ("" if unknown else f" [{low:.2f}, {high:.2f}]")


def split_unit(rest: str) -> tuple[str, str]:
    """What stands after ``_vs_``, without its unit, and the unit; such as ``vitmae_eager_fp32`` and ``cpu s per step``."""
    found = re.search(r"_((?:cpu|wall)_)?(s|ms|mb|gflop|seconds)(_|$).*", rest)
    return (rest[: found.start()], found.group(0)[1:].replace("_", " ")) if found else (rest, "")


def aimed(row: dict[str, Any]) -> str:
    """The aim of a row, and whether it is met; '' where there is none. Of a GPU's rows the share of its peak that ours uses."""
    name, share = row["name"], row["facts"].get("mfu")
    used = f"; MFU {share:.0%}" if share else ""
    if name in AT_MOST:
        return f"at most {AT_MOST[name]:g}: {'met' if row['ours'] <= AT_MOST[name] else 'missed'}"
    if name not in AIMS:
        return used.removeprefix("; ")
    aim = AIMS[name]
    if row["ratio"] is None:
        return f"× {aim:.2f}: missed"
    middle, _, _ = gain(row)
    return f"× {aim:.2f}: {'met' if middle >= aim else f'missed by {aim - middle:.2f}'}{used}"


def section(title: str, content: dict[str, Any]) -> str:
    """The table of one benchmark: its command, its machine and its comparisons, those included in which ours never got so far."""
    rows = [row for row in content["rows"] if row["baseline"] is not None]
    machine = content["machine"]
    where = ", ".join(str(part) for part in (machine["gpu"] or machine["cpu"], f"torch {machine['torch']}") if part)
    said = f"`{rows[0]['command']}`, n = {rows[0]['n']}, on {where}."
    return f"## {title}\n\n{said}\n\n{HEAD}" + "".join(f"| {' | '.join(line(row))} |\n" for row in rows)


def measured(out: Path) -> dict[str, str]:
    """Heading → section, of every benchmark of speed that was run."""
    found = {}
    for name, title in PAGES.items():
        path = out / f"{name}.json"
        if path.is_file():
            content = json.loads(path.read_text())
            if any(row["baseline"] is not None for row in content["rows"]):
                found[title] = section(title, content)
    return found


def main(root: Path = Path(), out: Path = OUT) -> None:
    """Writes docs/performance.md."""
    path = root / "docs" / "performance.md"
    order = {title: at for at, title in enumerate(PAGES.values())}
    renew(path, INTRODUCTION, measured(out), order.get)
    print(path)


if __name__ == "__main__":
    main()
