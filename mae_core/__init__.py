"""The science of MAEstro in plain torch: cells, masks, encoders, decoders, targets, objectives, training and evaluation."""
