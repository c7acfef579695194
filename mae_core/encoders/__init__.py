"""What reads the visible cells. The one table of encoders."""

ENCODERS = {
    "vit": "mae_core.encoders.vit:ViT",
    "conv": "mae_core.encoders.conv:ConvNet",
    "hybrid": "mae_core.encoders.hybrid:Hybrid",
}
