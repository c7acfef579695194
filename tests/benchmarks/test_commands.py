"""The command that makes a table again says every option that decides, and other questions have tables of other names."""

import argparse
import shlex

import pytest

from benchmarks.commands import LONGEST, again, table_name

OPTIONS = ("steps", "only", "alone", "rate")


@pytest.fixture
def parser():
    made = argparse.ArgumentParser()
    made.add_argument("--steps", type=int)
    made.add_argument("--only", nargs="*", default=[])
    made.add_argument("--alone", action="store_true")
    made.add_argument("--rate", type=float, default=1.0)
    return made


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ([], "t"),
        (["--steps", "5", "--alone"], "t-steps-5-alone"),
        (["--only", "vit joint", "conv"], "t-only-vit_joint-conv"),
        (["--rate", "0.5"], "t-rate-0.5"),
    ],
)
def test_a_command_gives_the_same_options_and_its_table_is_named_by_them(arguments, name, parser):
    given = parser.parse_args(arguments)
    assert table_name("t", parser, given, OPTIONS) == name
    said = shlex.split(again("python -m t", given, OPTIONS))
    assert said[:3] == ["python", "-m", "t"] and parser.parse_args(said[3:]) == given


def test_long_names_stay_names_of_files(parser):
    names = {
        table_name("t", parser, parser.parse_args(["--only", *(f"architecture {i}" for i in range(n))]), OPTIONS)
        for n in (20, 21)
    }
    assert len(names) == 2 and all(len(name) <= LONGEST for name in names)
