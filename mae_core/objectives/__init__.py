"""What is minimised. The one table of objectives."""

OBJECTIVES = {
    "reconstruction": "mae_core.objectives.reconstruction:Reconstruction",
    "contrastive": "mae_core.objectives.contrastive:Contrastive",
}
