"""What is typed after `denoiseq COMMAND`, and its completion by the shell.

Turns flags and `key=value` into overrides of Hydra that keep text as it was typed; `cli` hands them
on. Knows Hydra's grammar, but does not import it.
"""
