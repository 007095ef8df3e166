"""Image headers the way nanoBragg reads them."""

from numbragg.io.smv import header_entries, read_header_text

__all__ = ["header_value_by_substring", "read_header_text"]


def header_value_by_substring(header_text: str, key: str) -> str | None:
    """Look a keyword up as nanoBragg does (register entry Q22).

    Parameters
    ----------
    header_text
        The header, as from `read_header_text`.
    key
        Part of the keyword to look for, such as DISTANCE.

    Returns
    -------
    str or None
        Value of the last entry whose keyword contains `key`: DISTANCE finds a later CLOSE_DISTANCE. None without one.

    Notes
    -----
    Source: ``specs/30-formats.md``, clause 30.28.
    """
    values = [value for name, value in header_entries(header_text) if key in name]
    return values[-1] if values else None
