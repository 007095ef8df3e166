"""What numbragg says to its users when something is wrong or worth knowing."""


class NumbraggError(Exception):
    """A wrong input: one clear line that says what, where and how to fix it.

    The command line prints it as ``numbragg: error: <text>`` and exits with status 2.
    """


class NumbraggWarning(UserWarning):
    """Something the user probably wants to change; the work goes on."""


class DeviationNote(NumbraggWarning):
    """A defect of nanoBragg.c matters to this run (register in ``specs/40-compat.md``)."""
