"""`denoiseq predict`: a whole genome through a network, to tracks and peaks."""
