"""The long options of ``numbragg simulate``: two dashes, separate from the flags of nanoBragg.

Rules: ``specs/20-command-line.md``, clause 20.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from numbragg.compat.flag_table import FLAG_OF_NAME, nearest_name, plain, shown
from numbragg.errors import NumbraggError


@dataclass(frozen=True)
class LongOption:
    """One long option.

    Attributes
    ----------
    name : str
        With its two dashes.
    placeholder : str
        What the help calls its value; empty for a switch, words between bars for a choice, N for a positive integer.
    default : str
        In words for the help.
    help : str
        Meaning in a few words.
    """

    name: str
    placeholder: str
    default: str
    help: str

    @property
    def key(self) -> str:
        """The name in the dictionary of `split_options`: no leading dashes, underscores within."""
        return self.name.lstrip("-").replace("-", "_")


LONG_OPTIONS: tuple[LongOption, ...] = (
    LongOption("--compat", "spec|c", "spec; nanoBragg: c", "corrected physics, or nanoBragg.c with its defects"),
    LongOption("--threads", "N", "all cores", "threads to run; the image does not depend on it"),
    LongOption("--c-threads", "N", "1", "OpenMP threads that mode c imitates (Q01)"),
    LongOption("--help", "", "", "print this text"),
    LongOption("--version", "", "", "print the version"),
)
_OPTION_OF_NAME = {option.name: option for option in LONG_OPTIONS}


def split_options(argv: Sequence[str]) -> tuple[dict[str, str | int | bool], list[str]]:
    """Take the long options out of a command line.

    Parameters
    ----------
    argv : sequence of str
        The words behind the program's name. ``--name value`` and ``--name=value`` mean the same.

    Returns
    -------
    options : dict
        Only the options that were given, by `LongOption.key` (``compat``, ``threads``, ``c_threads``,
        ``help``, ``version``): a positive int, a word or True. The last of several holds.
    rest : list of str
        All other words, in order and untouched.

    Raises
    ------
    NumbraggError
        An unknown option, a missing value, or a value of the wrong kind.

    Notes
    -----
    Source: ``specs/20-command-line.md``, clause 20.2.
    """
    options: dict[str, str | int | bool] = {}
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        if not word.startswith("--"):
            rest.append(word)
            continue
        name, equals, value = word.partition("=")
        option = _OPTION_OF_NAME.get(name)
        if option is None:
            hint = nearest_name(name, [*_OPTION_OF_NAME, *FLAG_OF_NAME])
            raise NumbraggError(f"unknown option {plain(name)}{hint}")
        if option.placeholder:
            options[option.key] = _value(option, value if equals else next(words, ""))
        elif equals:
            raise NumbraggError(f"{name} takes no value, not {shown(value)}")
        else:
            options[option.key] = True
    return options, rest


def _value(option: LongOption, word: str) -> str | int:
    choices = option.placeholder.split("|")
    if len(choices) > 1:
        if word not in choices:
            raise NumbraggError(f"{option.name} is one of {', '.join(choices)}, not {shown(word)}")
        return word
    if not (word.isascii() and word.isdigit() and len(word) < 10 and int(word) > 0):
        raise NumbraggError(f"{option.name} is a positive whole number, not {shown(word)}")
    return int(word)
