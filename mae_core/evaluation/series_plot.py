"""Time series as pictures, drawn with Pillow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

WIDTH, HEIGHT, MARGIN, SCALE = 560, 90, 6, 2
"""Pixels of one channel's plot, and how much larger it is drawn before it is smoothed down."""
SHADE = (232, 236, 242)
COLOURS = ((150, 156, 166), (230, 105, 0), (24, 44, 82))
"""Of the curves, in their order: truth, filled, visible."""


def plot(curves: Sequence[np.ndarray], masked: np.ndarray | None) -> np.ndarray:
    """RGB uint8 (C · 90, 560, 3) of one sample: curves (C, T) over each other, NaN broken; where ``masked`` is NaN the ground is shaded."""
    from PIL import Image, ImageDraw

    channels, length = curves[0].shape
    colours = COLOURS if len(curves) > 1 else COLOURS[2:]
    bands = []
    for channel in range(channels):
        image = Image.new("RGB", (WIDTH * SCALE, HEIGHT * SCALE), "white")
        draw = ImageDraw.Draw(image)
        known = np.concatenate([curve[channel][np.isfinite(curve[channel])] for curve in curves])
        low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
        room = (WIDTH - 2 * MARGIN) * SCALE / max(length - 1, 1)
        xs = MARGIN * SCALE + room * np.arange(length)
        gaps = np.isnan(curves[0][channel] if masked is None else masked[channel])
        for t in np.flatnonzero(gaps).tolist():
            draw.rectangle([xs[t] - room / 2, 0, xs[t] + room / 2, HEIGHT * SCALE], fill=SHADE)
        for curve, colour in zip(curves, colours):
            y = (high - curve[channel]) / (high - low or 1.0) * (HEIGHT - 2 * MARGIN) * SCALE + MARGIN * SCALE
            for t in range(length):
                if np.isfinite(y[t]) and t + 1 < length and np.isfinite(y[t + 1]):
                    draw.line([xs[t], y[t], xs[t + 1], y[t + 1]], fill=colour, width=SCALE + 1)
                elif np.isfinite(y[t]):
                    draw.ellipse([xs[t] - 2, y[t] - 2, xs[t] + 2, y[t] + 2], fill=colour)
        bands.append(np.asarray(image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)))
    return np.concatenate(bands, 0)
