"""What reads the visible cells. The one table of encoders."""

ENCODERS = {"vit": "mae_core.encoders.vit:ViT"}
