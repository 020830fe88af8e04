"""Flags and config values of the commands: parsed, or refused in one sentence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import FUZZ

COMMANDS = ["prepare", "train", "evaluate", "predict"]
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
GRAMMAR = st.text("[]{}()'\"\\,:=$+~-.*&!?|> \n\t0123456789eax_", max_size=14)
KNOWN = st.sampled_from(
    [
        *("", "null", "true", "nan", "-inf", "1e400", "9" * 5_000, "0x10", "1_0", "???", "~", "[]"),
        *(
            "[[[[",
            "{a:{b:[1,2]}}",
            "${out}",
            "${oc.env:HOME}",
            "${",
            "a,b",
            "choice(1,2)",
            "[1,,2]",
        ),
        *(
            "range(1,3)",
            "glob(*)",
            "!!python/object:os.system",
            "&a [*a]",
            "'x",
            '"',
            "\\",
            "\x1b[31m",
        ),
        *("[" * 200, "-1", "--", "2" * 40, "\u0663", "a=b", "chr1:1,000-2,000", "\ufeff", "1e-400"),
    ]
)
VALUES = st.one_of(KNOWN, TEXT, GRAMMAR, st.integers().map(str), st.floats().map(str))


def parsed(command: str, arguments: list[str]) -> None:
    """As far as the checked settings; errors that `main` makes a sentence are a UserError."""
    from denoiseq import cli
    from denoiseq.errors import UserError

    try:
        cli.parse(cli.SCHEMAS[command], cli.composed(command, arguments))
    except (*cli.EXPECTED,) as error:
        raise UserError(cli.sentence(error, command)) from error


@st.composite
def arguments(draw, command):
    """One to three settings, most by names that the command has, as flags or assignments."""
    from denoiseq.settings import COMMANDS as schemas
    from denoiseq.settings import keys

    names = st.one_of(*[st.sampled_from(keys(schemas[command]))] * 4, TEXT, GRAMMAR)
    words = []
    for _ in range(draw(st.integers(1, 3))):
        name, value = draw(names), draw(VALUES)
        flag = f"--{name.replace('_', '-')}"
        forms = [
            [f"{name}={value}"],
            [flag, value],
            [f"{flag}={value}"],
            [f"+{name}={value}"],
            [flag],
        ]
        words += draw(st.sampled_from(forms))
    return words


@pytest.mark.parametrize("command", COMMANDS)
@FUZZ
@given(data=st.data())
def test_arguments_of_a_command(limited, command, data):
    words = data.draw(arguments(command))
    outcome = limited(parsed, command, words)
    assert outcome.state != "failed", (words, outcome.text)
