"""From stores to labelled windows, as tensors in batches."""
