"""Options of components: dataclass fields with a range and one line of help, as configurations.

A configuration is an `ml_collections.ConfigDict` of groups of fields, as absl flags override them:
`--config.GROUP.FIELD=VALUE`, and `--config.GROUP.COMPONENT.FIELD=VALUE` of a component's options.
"""

import dataclasses
import difflib
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from jvae.errors import UserError


def option(
    default: Any,
    help: str,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
    choices: Iterable[str] | None = None,
    free: bool = False,
    place: bool = False,
) -> Any:
    """Declares a field of an options dataclass.

    Args:
      default: its value, whose type is the field's.
      help: one line, lower case, without a full stop.
      above: the value is larger.
      at_least: the value is not smaller.
      below: the value is smaller.
      at_most: the value is not larger.
      choices: the names that a text may be.
      free: whether a resumed run may have another value (how long, where, how it is shown).
      place: whether it says where a run's processes are, and is no part of what the run is.
    """
    limits = {"above": above, "at least": at_least, "below": below, "at most": at_most}
    return dataclasses.field(
        default=default,
        metadata={
            "help": help,
            "limits": {words: limit for words, limit in limits.items() if limit is not None},
            "choices": None if choices is None else tuple(choices),
            "free": free or place,
            "place": place,
        },
    )


_HOLDS = {
    "above": lambda value, limit: value > limit,
    "at least": lambda value, limit: value >= limit,
    "below": lambda value, limit: value < limit,
    "at most": lambda value, limit: value <= limit,
}


def check_options(path: str, options: type, values: Mapping[str, Any]) -> None:
    """Checks values against the ranges and choices that their fields declare.

    Args:
      path: of the group, "model" or "model.vmf".
      options: the dataclass.
      values: by name of a field.

    Raises:
      UserError: names the field, its value and what is allowed.
    """
    for field in dataclasses.fields(options):
        name, value = f"{path}.{field.name}", values[field.name]
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{name} = {value} must be a finite number")
        limits = field.metadata["limits"]
        if not all(_HOLDS[words](value, limit) for words, limit in limits.items()):
            raise UserError(f"{name} = {value} must be {limits_in_words(field)}")
        if field.metadata["choices"] is not None:
            check_name(name, value, field.metadata["choices"])


def limits_in_words(field: dataclasses.Field[Any]) -> str:
    """Returns the range of a field, as "above 0 and at most 1"; "" for any value."""
    return " and ".join(
        f"{words} {limit if isinstance(limit, int) else format(limit, 'g')}"
        for words, limit in field.metadata["limits"].items()
    )


def check_name(field: str, name: str, known: Collection[str]) -> None:
    """Refuses a name that is not known, and suggests the nearest.

    Raises:
      UserError: names the field, its value and the known names.
    """
    if name in known:
        return
    near = difflib.get_close_matches(str(name), known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    shown = ", ".join(one or "'' (none)" for one in known)
    raise UserError(f"{field} = {name!r} is unknown: {hint}known are {shown}")


def defaults(options: type) -> dict[str, Any]:
    """Returns the default of each field."""
    return {field.name: field.default for field in dataclasses.fields(options)}


def flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the dotted name and the value of every field of nested groups."""
    for name, value in config.items():
        if isinstance(value, Mapping) or hasattr(value, "items"):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def difference(old: Mapping[str, Any], new: Mapping[str, Any], free: Collection[str]) -> str | None:
    """Returns the first field in which two configurations differ, in words, or None.

    Args:
      old: nested groups.
      new: nested groups.
      free: dotted names of fields that may differ.
    """
    before, after = dict(flat(old)), dict(flat(new))
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name) and name not in free:
            return f"{name} was {before.get(name)!r} and is now {after.get(name)!r}"
    return None


def merged(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns nested groups with the values of `values` where it has them.

    Raises:
      KeyError: `values` has a field that `base` has not; its text is the dotted name.
      TypeError: `values` has something else in the place of a group.
    """
    known = dict(flat(base))
    for name, value in flat(values):
        if any(field.startswith(f"{name}.") for field in known):
            raise TypeError(f"{name} is {value!r}, not a group of fields")
        if name not in known:
            raise KeyError(name)

    def merge(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: merge(value, values.get(name, {}))
            if isinstance(value, Mapping)
            else values.get(name, value)
            for name, value in base.items()
        }

    return merge(base, values)
