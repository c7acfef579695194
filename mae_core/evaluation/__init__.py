"""What a representation is worth: frozen probes, fine-tuning, reconstructions, rank, and the baselines they stand beside."""
