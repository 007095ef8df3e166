"""What a reader says of a file that it refuses."""

from numbragg.errors import NumbraggError


def refusal(read, path) -> str:
    """The message with which a file is refused; none where it is read."""
    try:
        read(path)
    except NumbraggError as error:
        return str(error)
    return ""
