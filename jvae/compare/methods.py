"""The methods of a comparison: their names, their combinations and their configurations."""

import difflib
from collections.abc import Collection, Mapping
from typing import Any

from ml_collections import ConfigDict

from jvae.configs import flat
from jvae.errors import UserError
from jvae.runs.task import Method, Methods


def known(names: Collection[str], methods: Mapping[str, Method]) -> list[str]:
    """Returns the names, once each.

    Raises:
      UserError: one of them is not among `methods`.
    """
    for name in names:
        if name not in methods:
            near = difflib.get_close_matches(name, methods, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UserError(f"--methods: {name!r} is unknown: {hint}known are {', '.join(methods)}")
    return list(dict.fromkeys(names))


def method(methods: Methods, name: str) -> Method:
    """Returns a method, or one with the fields of several that "+" joins.

    Raises:
      UserError: one is unknown, or two of them set a field to different values.
    """
    parts = [methods.methods[part] for part in known(name.split("+"), methods.methods)]
    fields: dict[str, Any] = {}
    for part in parts:
        for field, value in part.fields.items():
            if fields.setdefault(field, value) != value:
                raise UserError(
                    f"--methods={name}: {field} cannot be both {fields[field]!r} and {value!r}: "
                    "leave one of the methods out"
                )
    return Method("; ".join(part.about for part in parts), fields)


def bounds(methods: Methods, name: str) -> tuple[str, ...]:
    """Returns the floor and the ceiling of a method; nothing where methods have none."""
    method(methods, name)  # refuses an unknown name
    return methods.bounds(name)


def all_bounds(methods: Methods) -> frozenset[str]:
    """Returns the floors and ceilings of all methods."""
    return frozenset(bound for name in methods.methods for bound in methods.bounds(name))


def choose(methods: Methods, names: Collection[str]) -> list[str]:
    """Returns the methods that are compared: floors and ceilings, then the named ones, once each.

    Raises:
      UserError: a name is unknown, or joins methods that disagree.
    """
    floors = [bound for name in names for bound in bounds(methods, name)]
    always = methods.bounds(next(iter(methods.methods)))
    return list(dict.fromkeys([*always, *floors, *names]))


def replaced(methods: Methods, base: ConfigDict, given: Collection[str] = ()) -> dict[str, Any]:
    """Returns the fields of the base from which methods do not start, with their new values.

    Args:
      methods: of a comparison.
      base: data, sizes and training budget.
      given: dotted fields that are kept.
    """
    values = dict(flat(base))
    plain = methods.plain(base).items()
    return {field: value for field, value in plain if field not in given and values[field] != value}


def configure(
    methods: Methods, base: ConfigDict, name: str, seed: int, given: Collection[str] = ()
) -> ConfigDict:
    """Makes a method's configuration with the base's data, sizes and training budget.

    Args:
      methods: of a comparison; all but the method's fields are those of their plain model.
      base: its remedies, if any, are left out.
      name: of a method, or of several that "+" joins.
      seed: of the run.
      given: dotted fields whose value in the base holds for every method that does not set them.

    Raises:
      UserError: see `method`.
    """
    config = base.copy_and_resolve_references()
    fields = replaced(methods, base, given) | dict(method(methods, name).fields)
    config.update_from_flattened_dict(fields | {"training.seed": seed})
    return config
