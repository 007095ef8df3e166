"""Groups, fields and chains of axes as the files of NeXus have them."""

from typing import Any

import numpy as np
import numpy.typing as npt

_LENGTH = {"m": 1.0, "cm": 1e-2, "mm": 1e-3, "um": 1e-6, "micron": 1e-6}

Vector = npt.NDArray[np.float64]


def add_group(parent: Any, name: str, kind: str, **attributes: str) -> Any:
    """Add a group of a NeXus class."""
    group = parent.create_group(name)
    group.attrs["NX_class"] = kind
    for key, value in attributes.items():
        group.attrs[key] = value
    return group


def add_field(parent: Any, name: str, value: Any, unit: str | None = None, **attributes: Any) -> Any:
    """Add a field with its unit."""
    field = parent.create_dataset(name, data=value)
    if unit is not None:
        field.attrs["units"] = unit
    for key, item in attributes.items():
        field.attrs[key] = item
    return field


def groups_of(parent: Any, kind: str) -> list[Any]:
    """Groups of a NeXus class in another, in the order in which HDF5 lists them; links to nowhere are passed over."""
    items = (parent.get(name) for name in parent)
    return [item for item in items if item is not None and plain(item.attrs.get("NX_class", "")) == kind]


def plain(value: Any) -> str:
    """Text of an attribute, which HDF5 keeps as text or as bytes."""
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)


def text_of(field: Any) -> str:
    """Text of a field."""
    return plain(field[()])


def unit_of(field: Any) -> str:
    """Unit of a field; empty where it has none."""
    return plain(field.attrs.get("units", ""))


def length_of(field: Any) -> float:
    """A length, in metres."""
    if unit_of(field) not in _LENGTH:
        raise ValueError(f"{field.name} has the unit '{unit_of(field)}'; known are {', '.join(_LENGTH)}")
    return float(np.ravel(field[()])[0]) * _LENGTH[unit_of(field)]


def axis_of(field: Any) -> Vector:
    """Direction of an axis, a unit vector."""
    vector = np.array(field.attrs["vector"], dtype=float)
    return np.asarray(vector / np.linalg.norm(vector))


def offset_of(field: Any) -> Vector:
    """What an axis is shifted by before anything else, metres."""
    unit = plain(field.attrs.get("offset_units", "m"))
    return np.array(field.attrs.get("offset", np.zeros(3)), dtype=float) * _LENGTH[unit]


def follow(file: Any, path: Any) -> tuple[Vector, Vector]:
    """Rotation and translation, metres, of a chain of axes."""
    from scipy.spatial.transform import Rotation

    turn, shift = np.eye(3), np.zeros(3)
    seen = set()
    while path not in (".", b"."):
        field = file[path]
        if field.name in seen:
            raise ValueError(f"the axes at {field.name} depend on each other")
        seen.add(field.name)
        if plain(field.attrs["transformation_type"]) == "rotation":
            step = Rotation.from_rotvec(np.radians(float(np.ravel(field[()])[0])) * axis_of(field)).as_matrix()
            turn, shift = step @ turn, step @ shift + offset_of(field)
        else:
            shift = shift + (length_of(field) * axis_of(field) if np.any(field[()]) else 0.0) + offset_of(field)
        path = next_axis(field)
    return turn, shift


def next_axis(field: Any) -> str:
    """Path of what a field depends on, which may be given relative to its group; "." for nothing."""
    text = plain(field.attrs.get("depends_on", "."))
    return text if text.startswith("/") or text == "." else f"{field.parent.name}/{text}"
