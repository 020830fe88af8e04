"""`denoiseq doctor` and `denoiseq bench`: what the machine is and how fast it is."""
