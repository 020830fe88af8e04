"""`denoiseq train`: losses, steps, epochs, checkpoints."""
