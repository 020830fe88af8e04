"""What the benchmarks share: contenders, layers, generated stores, timing, the command line."""
