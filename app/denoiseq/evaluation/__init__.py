"""`denoiseq evaluate`: metrics, baselines and intervals on held-out chromosomes."""
