"""What is learned from cut sites: windows, models, losses, metrics, checkpoints, the loop.

Torch lives here; the file formats of genomics do not.
"""
