"""What a value of a config may be: each check raises ValueError with one sentence."""

from typing import Any


def check(condition: bool, sentence: str) -> None:
    if not condition:
        raise ValueError(sentence)


def path_or_paths(name: str, value: Any) -> None:
    listed = value if isinstance(value, list) else [value]
    fits = value is None or (len(listed) > 0 and all(isinstance(item, str) for item in listed))
    check(fits, f"{name} is {value!r}, expected one path, or several as in '{name}=[a.bam,b.bam]'")


def panels(loci: int, random_loci: int, regions: list[str]) -> None:
    for name, value in (("loci", loci), ("random_loci", random_loci), ("regions", len(regions))):
        check(0 <= value <= 12, f"{name} is {value}, expected 0 to 12 of them")


def one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    check(value in choices, f"{name} is {value!r}, expected one of {', '.join(choices)}")
