"""What predicts the hidden cells. The one table of decoders."""

DECODERS = {
    "joint": "mae_core.decoders.joint:JointDecoder",
    "cross": "mae_core.decoders.cross:CrossDecoder",
    "linear": "mae_core.decoders.linear:LinearDecoder",
    "unet": "mae_core.decoders.unet:UNetDecoder",
}
