"""What is minimised. The one table of objectives."""

OBJECTIVES = {
    "reconstruction": "mae_core.objectives.reconstruction:Reconstruction",
    "contrastive": "mae_core.objectives.contrastive:Contrastive",
    "mask_contrastive": "mae_core.objectives.contrastive:MaskContrastive",
    "invariance": "mae_core.objectives.vicreg:Invariance",
    "variance": "mae_core.objectives.vicreg:Variance",
    "covariance": "mae_core.objectives.vicreg:Covariance",
    "uniformity": "mae_core.objectives.uniformity:Uniformity",
    "loss_ranking": "mae_core.objectives.loss_ranking:LossRanking",
}
