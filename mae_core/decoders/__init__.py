"""What predicts the hidden cells. The one table of decoders."""

DECODERS = {"joint": "mae_core.decoders.joint:JointDecoder"}
