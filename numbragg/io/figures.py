"""Drawing needs matplotlib, which an installation may lack."""

from numbragg.errors import NumbraggError


def require_matplotlib() -> None:
    """Refuse to draw without matplotlib.

    Raises
    ------
    NumbraggError
        matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise NumbraggError("drawing needs matplotlib: pip install numbragg[plot]") from error
