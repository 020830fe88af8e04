"""What a value of a config may be: each check raises ValueError with one sentence."""

from typing import Any


def check(condition: bool, sentence: str) -> None:
    """ValueError with the sentence unless the condition holds."""
    if not condition:
        raise ValueError(sentence)


def path_or_paths(name: str, value: Any) -> None:
    """A path, several, or None."""
    listed = value if isinstance(value, list) else [value]
    fits = value is None or (len(listed) > 0 and all(isinstance(item, str) for item in listed))
    check(fits, f"{name} is {value!r}, expected one path, or several as in '{name}=[a.bam,b.bam]'")
