"""Options of one command beside those of ``simulate``."""

from collections.abc import Collection, Iterator

from numbragg.errors import NumbraggError


def take_own_options(argv: list[str], names: Collection[str], hint: str) -> tuple[dict[str, str], list[str]]:
    """Take ``--name value`` and ``--name=value`` out of a command line; the last of several holds.

    Parameters
    ----------
    argv
        The words of the command line.
    names
        Options to take, with their dashes; each has a value.
    hint
        What the message about a missing value says after the name.

    Raises
    ------
    NumbraggError
        An option without its value.
    """
    own: dict[str, str] = {}
    rest: list[str] = []
    words: Iterator[str] = iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        if name not in names:
            rest.append(word)
            continue
        own[name] = value if equals else next(words, "")
        if not own[name]:
            raise NumbraggError(f"{name} {hint}")
    return own, rest
