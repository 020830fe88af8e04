"""The command line that all scripts share: options that repeat, and how a script ends."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path

from denoiseq.atomic import write_text

ROOT = Path(__file__).resolve().parents[2]
CORES = len(os.sched_getaffinity(0))
PATHS = {"csv": "write the rows here", "runs": "what is done already", "out": "output folder"}


def parser(doc: str, resume: bool = False, **paths: Path | None) -> argparse.ArgumentParser:
    """A parser that prints `doc`, with --resume if wanted; `paths`: names in PATHS and defaults."""
    layout = argparse.RawDescriptionHelpFormatter
    made = argparse.ArgumentParser(description=doc, formatter_class=layout)
    for name, default in paths.items():
        made.add_argument(f"--{name}", type=Path, default=default, help=PATHS[name])
    if resume:
        made.add_argument("--resume", action="store_true", help="keep the rows that --csv has")
    return made


def at_least(least: int) -> Callable[[str], int]:
    """The type of an option that is a number not below `least`."""

    def number(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"give {least} or more, got {text}")
        return int(text)

    return number


def script(main: Callable[[], int | None]) -> Callable[[], int | None]:
    """Run `main` where its file is the one that Python runs; it is the last thing in its file.

    Mistakes of the user and interruptions end as one line: exit 2, exit 130.
    """

    @wraps(main)
    def ended() -> int | None:
        try:
            return main()
        except (OSError, ValueError) as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(2) from error
        except KeyboardInterrupt as stop:
            print(f"stopped: {str(stop) or 'interrupted'}", file=sys.stderr)
            raise SystemExit(130) from stop

    if main.__module__ == "__main__":
        sys.exit(ended())
    return ended


def settle(texts: Mapping[Path, str], check: bool, source: str) -> int:
    """Write the generated files that changed, or only name them; 1 if a check finds some."""
    stale = [p for p, text in texts.items() if not p.is_file() or p.read_text("utf-8") != text]
    for path in stale:
        if check:
            print(f"{path} is not what {source}", file=sys.stderr)
        else:
            write_text(path, texts[path])
            print(f"{path}: written")
    return int(check and bool(stale))
