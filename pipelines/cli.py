"""``maestro``: the command line. Every command is a thin door to a function that notebooks can call too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="maestro",
    help="Pretrain, search, compare and use masked autoencoders.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
ROOT = Path()
FULL = (
    "pretrain.seeds=[0,1,2]",
    "search.trials=18",
    "search.budget=0.3",
    "search.confirm_budget=1",
    "controls.models=[autoencoder,supervised]",
    "evaluate.finetune.labels_per_class=[1,10,all]",
)
"""What `make demo-full` changes of the digits recipe."""

RecipeName = Annotated[str, typer.Argument(help="a recipe listed in params.yaml")]
ModelFolder = Annotated[Path, typer.Argument(help="a model folder, such as models/digits/seed-0")]


@app.command()
def demo(full: Annotated[bool, typer.Option(help="3 pretraining seeds, controls and a larger search")] = False) -> None:
    """Run the pipeline on real digits and print the scores and what to open next."""
    from experiments.report_text import scores_text

    command = [sys.executable, "-m", "dvc", "repro"]
    if full:
        command = [sys.executable, "-m", "dvc", "exp", "run"]
        for setting in FULL:
            command += ["-S", f"experiments/recipes/digits.yaml:{setting}"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(command, env={**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1"})
    if done.returncode:
        raise typer.Exit(done.returncode)
    print(scores_text(ROOT))
    print("\nNext:\n  make ui        # the app\n  make mlflow    # every run\n  open report/index.html\n")
    file = "experiments/recipes/digits.yaml"
    print(
        f"  dvc exp run -S '{file}:masking.ratio=0.6' -S '{file}:pretrain.steps=2225' && dvc exp show    # at equal FLOPs"
    )


@app.command()
def datasets() -> None:
    """List the datasets there are, and which are prepared."""
    from pipelines.show import datasets_text

    print(datasets_text(ROOT))


@app.command()
def scores() -> None:
    """Print the scores of every recipe beside their baselines."""
    from experiments.report_text import scores_text

    print(scores_text(ROOT))


@app.command()
def plan(
    recipe: RecipeName,
    measure: Annotated[bool, typer.Option(help="run its first steps for ten seconds, and forecast from them")] = False,
    calibrate: Annotated[bool, typer.Option(help="measure this machine for ten seconds, for every later plan")] = False,
    price_per_hour: Annotated[float | None, typer.Option(min=0, help="of this machine, in any currency")] = None,
    gpus: Annotated[list[int] | None, typer.Option(min=1, help="on paper: so many GPUs; may be given again")] = None,
    gpu: Annotated[str, typer.Option(help="their kind, such as H100 or A100")] = "H100",
    strategy: Annotated[str, typer.Option(help="how they share the model: ddp or fsdp2")] = "ddp",
) -> None:
    """Show every value with its origin, the steps, FLOPs and memory of a recipe, and forecast time, peak memory and cost."""
    from pipelines.show import ManyGpus, plan_text

    print(plan_text(recipe, ROOT, measure, calibrate, price_per_hour, ManyGpus(gpus or (), gpu, strategy)))


@app.command()
def study(recipe: RecipeName) -> None:
    """Say what a search found: the verdict, what mattered, and which proxies could have been trusted."""
    from pipelines.study import study_text

    print(study_text(recipe, ROOT))


@app.command()
def pin(
    recipe: RecipeName,
    trial: Annotated[int, typer.Argument(help="its number, 0 is the defaults")],
    name: Annotated[str, typer.Option(help="of the new recipe: a-z, 0-9 and _")],
) -> None:
    """Make a trial of a search a recipe of its own: its values as literals, at the cost of the final run."""
    from pipelines.study import pin_text

    print(pin_text(recipe, trial, name, ROOT))


@app.command()
def doctor() -> None:
    """Check this machine: versions, space, cores, precision, one training step, one save and load."""
    from pipelines.doctor import check

    healthy = True
    for line in check(ROOT):
        healthy &= line.ok
        print(f"{'ok  ' if line.ok else 'FAIL'} {line.name}: {line.detail}")
    raise typer.Exit(0 if healthy else 1)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="your pictures: loose, or one folder per class, or both")],
    name: Annotated[str | None, typer.Option(help="a-z, 0-9 and _; default: from the folder's name")] = None,
    size: Annotated[int | None, typer.Option(help="pixels a side; default: from the pictures")] = None,
    channels: Annotated[int | None, typer.Option(help="1 or 3; default: from the pictures")] = None,
) -> None:
    """Make a dataset and a recipe from your own pictures."""
    from experiments.initialise import initialise

    print(initialise(folder, ROOT, name, size, channels).text)


@app.command()
def enable(
    recipe: Annotated[str, typer.Argument(help="a file of experiments/recipes")],
    dataset: Annotated[str, typer.Option(help="a file of experiments/datasets")],
) -> None:
    """List a recipe and its dataset in params.yaml, so that `dvc repro` runs them."""
    from experiments.datasets import load_dataset_spec
    from experiments.params import enable as add
    from experiments.recipe import load_recipe
    from experiments.stages import what_next

    load_recipe(recipe, ROOT)
    moved = add(ROOT, recipe, dataset, load_dataset_spec(dataset, ROOT).modality)
    if moved:
        print(
            f"{recipe} moved from {moved} to {dataset}: for results on both, list a copy of the recipe under another name"
        )
    print(f"params.yaml lists {recipe} on {dataset}. Next: {what_next(recipe)}")


@app.command()
def reconstruct(
    model: ModelFolder,
    files: Annotated[list[Path], typer.Argument(help="files of the kind that the model was trained on")],
    out: Annotated[Path, typer.Option(help="PNG to write; sounds and files with missing values filled come beside it")],
    ratio: Annotated[float | None, typer.Option(help="share hidden; default: as trained")] = None,
    strategy: Annotated[str | None, typer.Option(help="masking strategy; default: as trained")] = None,
    seed: Annotated[int, typer.Option(help="of the mask")] = 0,
) -> None:
    """Hide part of what files hold and let a model fill it in."""
    from pipelines.use import reconstruct_files

    print(reconstruct_files(model, files, out, ratio, strategy, seed))


@app.command()
def masks(
    out: Annotated[Path, typer.Option(help="PNG to write, or letters where it ends in .txt")],
    modality: Annotated[str, typer.Option(help="whose maskers are shown")] = "image",
    dataset: Annotated[
        str | None, typer.Option(help="a prepared dataset to show them on; default: made-up samples")
    ] = None,
    ratio: Annotated[float | None, typer.Option(help="share hidden; default: the modality's, or the model's")] = None,
    count: Annotated[int, typer.Option(help="samples in a row")] = 4,
    model: Annotated[
        Path | None,
        typer.Option(help="a trained model: its own masks, as it learned them, and how often each cell is hidden"),
    ] = None,
) -> None:
    """Draw what every mask hides of a few samples, or the masks of one model."""
    from pipelines.masks import draw_masks, draw_own_masks

    if model is not None:
        print(draw_own_masks(out, model, dataset, ratio, count, ROOT))
    else:
        print(draw_masks(out, modality, dataset, ratio, count, ROOT))


@app.command()
def embed(
    model: ModelFolder,
    source: Annotated[Path, typer.Argument(help="a prepared dataset (data/NAME), a folder of files, or one file")],
    out: Annotated[Path, typer.Option(help="parquet to write")],
) -> None:
    """Write one feature vector per sample to a parquet file."""
    from pipelines.use import embed_files

    print(embed_files(model, source, out))


@app.command("export")
def export_(
    model: ModelFolder,
    out: Annotated[Path, typer.Argument(help="folder (native, huggingface) or .pth file (official)")],
    layout: Annotated[str, typer.Option(help="native, official or huggingface")] = "native",
) -> None:
    """Write a model in another layout."""
    from mae_core.interop import export_model

    export_model(model, out, layout)
    print(f"{out} ({layout})")


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="folder (huggingface) or .pth file (official)")],
    out: Annotated[Path, typer.Argument(help="model folder to write")],
    layout: Annotated[str, typer.Option(help="official or huggingface")] = "official",
    heads: Annotated[
        int | None, typer.Option(help="attention heads of the encoder, where the file does not say")
    ] = None,
    decoder_heads: Annotated[int | None, typer.Option(help="attention heads of the decoder, likewise")] = None,
) -> None:
    """Make a model folder from weights of another layout."""
    from mae_core.interop import import_model

    import_model(source, out, layout, heads=heads, decoder_heads=decoder_heads)
    print(f"{out}: try `maestro reconstruct {out} FILE --out r.png`")


@app.command("mlflow-backfill")
def mlflow_backfill() -> None:
    """Make MLflow runs from result files, after a run without MLflow or in a fresh clone."""
    from experiments.publish import backfill

    print(f"{backfill(ROOT)} runs written")


def main() -> None:
    """Runs the command; errors that tell the user what to do are printed without a traceback."""
    try:
        app(prog_name="maestro")
    except (ValueError, OSError, RuntimeError) as problem:
        if os.environ.get("MAESTRO_TRACEBACK"):
            raise
        print(f"error: {problem}", file=sys.stderr)
        raise SystemExit(1) from None
