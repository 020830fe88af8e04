"""How the machine is used."""

from __future__ import annotations

from dataclasses import dataclass

from denoiseq.settings.setting import (
    at_least,
    check_settings,
    one_of,
    setting,
)


@dataclass
class Trainer:
    """How the machine is used."""

    device: str = setting("auto", "auto = a GPU where there is one", one_of("auto", "cpu", "cuda"))
    threads: int | None = setting(None, "of the arithmetic; null = what torch takes", at_least(1))
    workers: int = setting(0, "processes that load windows; 0 = in the main process", at_least(0))
    checkpoint_minutes: float = setting(
        10.0, "the longest time that a killed training loses; 0 = a step", at_least(0)
    )
    tensorboard: bool = setting(True, "write events for TensorBoard")
    progress: bool = setting(True, "a bar on a terminal; elsewhere a line an epoch")

    def __post_init__(self) -> None:
        check_settings(self, "trainer.")
