"""Completion by the tab key: what may follow on a command line, and the script that asks for it.

Where nothing is proposed, as for paths, the shell completes file names itself.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from denoiseq.command_line.arguments import ALONE, VALUED
from denoiseq.settings import Kind
from denoiseq.settings.help import flag_of

# bash breaks words at `=`, unless the user says otherwise, and then replaces what follows it alone.
SCRIPT = r"""_denoiseq()
{
    local line="${COMP_LINE:0:$COMP_POINT}" word head="" program script rest
    read -r program script rest <<< "$line"
    program=("${1/#\~/$HOME}")
    if [[ $1 == *python* ]]; then
        [[ $script =~ app/(prepare|train|evaluate|predict)\.py$ ]] || return 0
        program+=("$script")
    fi
    word="${line##*[[:space:]]}"
    [[ $word == *=* ]] && head="${word%=*}="
    local IFS=$'\n'
    COMPREPLY=( $(COMP_LINE="$line" "${program[@]}" -sc query=bash 2> /dev/null) )
    if [[ -n $head && $COMP_WORDBREAKS == *=* ]]; then
        COMPREPLY=( "${COMPREPLY[@]#"$head"}" )
    elif [[ -n $head && ${#COMPREPLY[@]} == 0 ]]; then
        COMPREPLY=( $(compgen -f -- "${word#"$head"}") )
        COMPREPLY=( "${COMPREPLY[@]/#/$head}" )
    fi
    [[ "${COMPREPLY[*]}" == *[=./] ]] && compopt -o nospace 2> /dev/null
    return 0
}
complete -o default -F _denoiseq"""


def words_of(line: str) -> list[str]:
    """The words of a command line that is being typed, the unfinished last one included."""
    for quote in ("", "'", '"'):
        with suppress(ValueError):  # within a quote that is still open
            *before, last = shlex.split(f"{line}\0{quote}")
            return [*before, last.removesuffix("\0")]
    return line.split(" ")


def completions(
    words: Sequence[str], kinds: Mapping[str, Kind], groups: Mapping[str, Sequence[str]]
) -> list[str]:
    """What the last of the `words` behind a command may become; nothing where a path may follow."""
    *before, current = words or [""]
    previous, name = before[-1] if before else "", current.partition("=")[0]
    if previous in VALUED:
        return []
    key = _key(previous)
    if previous.startswith("--") and (key in groups or (key in kinds and not kinds[key].boolean)):
        candidates = _values(key, kinds, groups)
    elif "=" in current:
        candidates = [f"{name}={value}" for value in _values(_key(name), kinds, groups)]
    elif current.startswith("-") or not current:
        candidates = _steps([*_flags(kinds, groups), *ALONE, *VALUED, "--help"], current)
    else:
        keys = [f"{'+' if group == 'experiment' else ''}{group}=" for group in groups]
        keys += [f"{key}=" for key, kind in kinds.items() if not kind.group]
        candidates = _steps(keys, current)
    return [text for text in dict.fromkeys(candidates) if text.startswith(current)]


def _key(name: str) -> str:
    """The setting that a flag or a key with a sign names."""
    return name.lstrip("+~-").replace("-", "_") if "=" not in name else ""


def _flags(kinds: Mapping[str, Kind], groups: Mapping[str, Sequence[str]]) -> list[str]:
    settings = {key: kind for key, kind in kinds.items() if not kind.group}
    switches = [f"--no-{flag_of(key)[2:]}" for key, kind in settings.items() if kind.boolean]
    return [*map(flag_of, groups), *map(flag_of, settings), *switches]


def _steps(names: Sequence[str], current: str) -> list[str]:
    """`names` up to the dot that comes next: first the groups, then what is in them."""
    return [
        f"{current}{name[len(current) :].partition('.')[0]}{'.' * ('.' in name[len(current) :])}"
        for name in names
        if name.startswith(current)
    ]


def _values(
    key: str, kinds: Mapping[str, Kind], groups: Mapping[str, Sequence[str]]
) -> Sequence[str]:
    if key in groups:
        return groups[key]
    kind = kinds.get(key)
    if kind is None:
        return []
    return ("true", "false") if kind.boolean else kind.choices


def files(word: str) -> list[str]:
    """Files and folders that the value at the end of a word may become, behind its key."""
    key, equals, value = word.rpartition("=")
    folder = value[: value.rfind("/") + 1]
    try:
        paths = sorted(Path(folder or ".").iterdir())
    except OSError:
        return []
    names = [f"{key}{equals}{folder}{path.name}{'/' * path.is_dir()}" for path in paths]
    return [name for name in names if name.startswith(word)]
