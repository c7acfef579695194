"""Models in other projects' file layouts: the official facebookresearch ``.pth`` and the Hugging Face ViTMAE folder."""

from __future__ import annotations

from pathlib import Path

from mae_core.interop.huggingface import from_huggingface, to_huggingface
from mae_core.interop.official import Details, from_official, load_official, save_official, to_official
from mae_core.model import MaskedAutoencoder
from mae_core.registry import nearest

__all__ = [
    "LAYOUTS",
    "Details",
    "export_model",
    "from_huggingface",
    "from_official",
    "import_model",
    "load_official",
    "save_official",
    "to_huggingface",
    "to_official",
]

LAYOUTS = ("native", "official", "huggingface")


def export_model(folder: str | Path, to: str | Path, layout: str = "native") -> Path:
    """Writes the model folder ``folder`` to ``to`` in one of ``LAYOUTS``: a folder, or for ``official`` a ``.pth`` file.

    Raises ValueError for what the layout cannot hold, and where ``to`` holds something that is not a model.
    """
    to = Path(to)
    _check_layout(layout)
    _check_free(to, file=layout == "official")
    model = MaskedAutoencoder.load(folder)
    if layout == "official":
        return save_official(model, to)
    if layout == "huggingface":
        return to_huggingface(model, to)
    return model.save(to)


def import_model(
    path: str | Path,
    to: str | Path,
    layout: str,
    heads: int | None = None,
    decoder_heads: int | None = None,
) -> Path:
    """Makes the model folder ``to`` from ``path``, which is in one of ``LAYOUTS``.

    ``heads`` and ``decoder_heads`` are for ``official`` files, which do not hold them.
    Raises ValueError for a file that is no masked autoencoder of ours, and where ``to`` holds something that is not a model.
    """
    to = Path(to)
    _check_layout(layout)
    _check_free(to, file=False)
    if layout != "official" and (heads or decoder_heads):
        raise ValueError(f"the {layout} layout holds the numbers of heads itself: leave them out")
    if layout == "official":
        model = load_official(path, heads=heads, decoder_heads=decoder_heads)
    elif layout == "huggingface":
        model = from_huggingface(path)
    else:
        model = MaskedAutoencoder.load(path)
    return model.save(to, card=f"# A masked autoencoder\n\nImported from the {layout} layout. See config.json.\n")


def _check_layout(layout: str) -> None:
    if layout not in LAYOUTS:
        raise ValueError(f"unknown layout {layout!r}{nearest(layout, LAYOUTS)}: there are {', '.join(LAYOUTS)}")


def _check_free(to: Path, file: bool) -> None:
    """Refuses to replace what is not a model: a folder is replaced whole, with all that lies in it."""
    if file and to.is_dir():
        raise ValueError(f"{to} is a folder, the official layout is one file: name it, for example {to / 'model.pth'}")
    if file and to.exists() and to.suffix != ".pth":
        raise ValueError(f"{to} exists and is no .pth file, so it is not replaced: choose another name")
    if file or not to.exists():
        return
    model = (to / "config.json").is_file() and (to / "model.safetensors").is_file()
    if not to.is_dir() or (any(to.iterdir()) and not model):
        raise ValueError(f"{to} exists and is no model folder, so it is not replaced: choose another name")
