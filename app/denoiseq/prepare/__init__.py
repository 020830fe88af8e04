"""`denoiseq prepare`: reads or a track to a store."""
