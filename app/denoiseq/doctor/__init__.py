"""`denoiseq doctor` and `denoiseq bench`: what the machine is, how fast it is, what to mend."""
