"""How the machine is used."""

from __future__ import annotations

from dataclasses import dataclass

from denoiseq.settings.setting import at_least, check_settings, one_of, setting


@dataclass
class Trainer:
    """How the machine is used."""

    device: str = setting(
        "auto", "where to compute; auto = a GPU if there is one", one_of("auto", "cpu", "cuda")
    )
    threads: int | None = setting(
        None,
        "threads that compute; null = one per usable core that the loading processes leave",
        at_least(1),
    )
    workers: int = setting(
        0, "processes that load windows; 0 = the main process loads them", at_least(0)
    )
    checkpoint_minutes: float = setting(
        10.0, "most minutes that a killed training loses; 0 = save after every step", at_least(0)
    )
    tensorboard: bool = setting(True, "write events for TensorBoard into the run folder")
    progress: bool = setting(True, "show a progress bar on a terminal; elsewhere one line an epoch")

    def __post_init__(self) -> None:
        check_settings(self, "trainer.")
