"""What the decoder is asked to predict. The one table of targets."""

TARGETS = {
    "pixels": "mae_core.targets.pixels:Pixels",
    "series": "mae_core.targets.series:VisibleLevel",
    "raw_series": "mae_core.targets.series:RawSeries",
    "norm_pixels": "mae_core.targets.pixels:NormPixels",
    "fourier": "mae_core.targets.fourier:Fourier",
    "hog": "mae_core.targets.hog:Hog",
    "values": "mae_core.targets.values:Values",
    "norm_values": "mae_core.targets.values:NormValues",
    "tokens": "mae_core.targets.tokens:Tokens",
    "columns": "mae_core.targets.columns:Columns",
    "parts": "mae_core.targets.parts:Parts",
    "latent": "mae_core.targets.latent:Latents",
    "features": "mae_core.targets.latent:Features",
}
