"""How a model learns: order of samples, schedule, optimiser, precision, the loop and its saved state."""
