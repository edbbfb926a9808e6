"""Components that own their configuration, and the one check of their combinations.

A component stands in a registry, a dictionary from names to `Component`; a `Choice` is a field of
a configuration that names one of them, a `Switch` a field that turns something on. What is active
gives capabilities and needs others; a capability is a phrase, such as "one latent vector for each
example", which messages quote.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from jvae.configs import check_name, check_options, defaults, limits_in_words
from jvae.errors import UserError

if TYPE_CHECKING:
    from ml_collections import ConfigDict


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """Options of a component that has none."""


class Rule(NamedTuple):
    """A condition on several values.

    Attributes:
      holds: configuration -> whether it is met.
      message: configuration -> what is wrong, and what to change.
    """

    holds: Callable[[Any], bool]
    message: Callable[[Any], str]


@dataclasses.dataclass(frozen=True)
class Component:
    """A part that can be chosen.

    Attributes:
      options: a frozen dataclass of `jvae.configs.option` fields.
      build: `(options, shared) -> value`; `shared` are the values that a task offers to all its
        components (sizes, number type), as attributes. None where nothing is built.
      gives: capabilities.
      needs: capability -> why, a clause that completes "...: ".
      parts: field of `options` -> registry of its values, whose capabilities and needs are in
        force with the component.
      rules: what else must hold.
      about: a few words for the reference.
    """

    options: type = NoOptions
    build: Callable[[Any, Any], Any] | None = None
    gives: frozenset[str] = frozenset()
    needs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    parts: Mapping[str, "Registry"] = dataclasses.field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    about: str = ""


Registry = Mapping[str, Component]


@dataclasses.dataclass(frozen=True)
class Choice:
    """A field that names a component.

    Attributes:
      field: its name in the group.
      components: by name; "" stands for none where it is a key.
      default: the name chosen without a word of the user.
      help: one line, for the reference.
      free: whether a resumed run may have another.
    """

    field: str
    components: Registry
    default: str
    help: str
    free: bool = False


@dataclasses.dataclass(frozen=True)
class Switch:
    """A field of a group, or of a component ("vamp.components"), that turns something on.

    Attributes:
      field: its name in the group.
      on: in force while the switch is on.
      off: in force otherwise.
      zero: the value at which it is off; None for 0, False or "".
      when: values of the group -> whether it is on, where another field has a say.
    """

    field: str
    on: Component = Component()
    off: Component = Component()
    zero: Any = None
    when: Callable[[Any], bool] | None = None

    def value(self, values: Any) -> Any:
        """Returns the field's value, of those of the group."""
        for part in self.field.split("."):
            values = values[part]
        return values

    def component(self, values: Any) -> Component:
        """Returns what is in force, given the values of the group."""
        value = self.value(values)
        is_on = bool(value) if self.zero is None else value != self.zero
        if self.when is not None:
            is_on = self.when(values)
        return self.on if is_on else self.off


@dataclasses.dataclass(frozen=True)
class Group:
    """A group of a configuration.

    Attributes:
      name: "model".
      options: a dataclass of its plain fields.
      choices: fields that name components, whose options become sub-groups.
      switches: fields of the options with capabilities and needs.
      gives: capabilities of every configuration.
      rules: what else must hold.
    """

    name: str
    options: type = NoOptions
    choices: tuple[Choice, ...] = ()
    switches: tuple[Switch, ...] = ()
    gives: frozenset[str] = frozenset()
    rules: tuple[Rule, ...] = ()

    def components(self) -> dict[str, tuple[Component, ...]]:
        """Returns the components that have options, by name.

        One name in two choices, as of an encoder and a decoder, is one sub-group with the fields of
        both.
        """
        found: dict[str, tuple[Component, ...]] = {}
        for choice in self.choices:
            for name, component in choice.components.items():
                if dataclasses.fields(component.options):
                    found[name] = (*found.get(name, ()), component)
        return found

    def fields(self) -> dict[str, Any]:
        """Returns the group's fields with their defaults, components' options as sub-groups."""
        fields = {choice.field: choice.default for choice in self.choices} | defaults(self.options)
        assert not fields.keys() & self.components().keys(), self.name
        for name, components in self.components().items():
            fields[name] = {}
            for component in components:
                own = defaults(component.options)
                assert all(fields[name].get(f, value) == value for f, value in own.items()), name
                fields[name] |= own
        return fields


class Active(NamedTuple):
    """A component in force: its field, the field's value, and itself."""

    field: str
    value: Any
    component: Component


def default_config(groups: tuple[Group, ...]) -> "ConfigDict":
    """Makes the configuration of all groups; it is locked: a misspelt field is refused."""
    from ml_collections import ConfigDict

    return ConfigDict({group.name: group.fields() for group in groups}).lock()


def build(group: Group, field: str, config: Any, shared: Any) -> Any:
    """Builds the component that a field of a group names.

    Args:
      group: that the field belongs to.
      field: of one of its choices.
      config: the whole configuration.
      shared: see `Component.build`.
    """
    choice = next(choice for choice in group.choices if choice.field == field)
    return build_named(group, choice.components, config[group.name][field], config, shared)


def build_named(group: Group, registry: Registry, name: str, config: Any, shared: Any) -> Any:
    """Builds a component of a registry, whose options are a sub-group of a group."""
    component = registry[name]
    assert component.build is not None, name
    return component.build(options_of(group, name, component.options, config), shared)


def options_of(group: Group, name: str, options: type, config: Any) -> Any:
    """Returns the options of a component as its dataclass.

    Args:
      group: that has them as a sub-group.
      name: of the component.
      options: the dataclass.
      config: the whole configuration.
    """
    fields = dataclasses.fields(options)
    values = config[group.name][name] if fields else {}
    return options(**{field.name: values[field.name] for field in fields})


def active(groups: tuple[Group, ...], config: Any) -> Iterator[Active]:
    """Yields the components in force."""
    for group in groups:
        values = config[group.name]
        for choice in group.choices:
            name = values[choice.field]
            component = choice.components[name]
            yield Active(f"{group.name}.{choice.field}", name, component)
            for field, registry in component.parts.items():
                part = values[name][field]
                yield Active(f"{group.name}.{name}.{field}", part, registry[part])
        for switch in group.switches:
            field, value = f"{group.name}.{switch.field}", switch.value(values)
            yield Active(field, value, switch.component(values))


def check(groups: tuple[Group, ...], config: Any) -> None:
    """Checks every value, and the combination of what they put in force.

    Raises:
      UserError: names the field, its value, and what is allowed or needed.
    """
    for group in groups:
        _check_values(group, config[group.name])
    in_force = list(active(groups, config))
    given = frozenset().union(
        *(one.component.gives for one in in_force), *(group.gives for group in groups)
    )
    for one in in_force:
        for capability, why in one.component.needs.items():
            if capability not in given:
                providers = _providers(groups, config, capability)
                raise UserError(
                    f"{one.field} = {one.value!r} needs {capability}: {why}; {providers}"
                )
    rules = [rule for one in in_force for rule in one.component.rules]
    for rule in (*rules, *(rule for group in groups for rule in group.rules)):
        if not rule.holds(config):
            raise UserError(rule.message(config))


def _check_values(group: Group, values: Any) -> None:
    check_options(group.name, group.options, values)
    for choice in group.choices:
        check_name(f"{group.name}.{choice.field}", values[choice.field], choice.components)
    for name, components in group.components().items():
        for component in components:
            check_options(f"{group.name}.{name}", component.options, values[name])


def _providers(groups: tuple[Group, ...], config: Any, capability: str) -> str:
    """Says which values would give a capability, beside those that are set."""
    found = []
    for group in groups:
        values = config[group.name]
        for choice in group.choices:
            names = [n for n, one in choice.components.items() if capability in one.gives]
            if names:
                one_of, value = " or ".join(map(repr, names)), values[choice.field]
                found.append(f"{group.name}.{choice.field} = {one_of} gives it, not {value!r}")
        for switch in group.switches:
            field, value = f"{group.name}.{switch.field}", switch.value(values)
            zero = type(value)() if switch.zero is None else switch.zero
            if capability in switch.off.gives:
                found.append(f"{field} = {zero!r} gives it, not {value!r}")
            if capability in switch.on.gives:
                found.append(f"a {field} other than {value!r} gives it")
    return "; ".join(found) or "nothing here gives it"


def free_fields(groups: tuple[Group, ...], *, place: bool = False) -> frozenset[str]:
    """Returns the dotted names of fields that a resumed run may change.

    Args:
      groups: of a task.
      place: only those that say where the processes are.
    """
    mark = "place" if place else "free"
    names: set[str] = set()
    for group in groups:
        options = [(group.name, group.options)]
        for name, components in group.components().items():
            options += [(f"{group.name}.{name}", component.options) for component in components]
        for path, fields in options:
            names.update(f"{path}.{f.name}" for f in dataclasses.fields(fields) if f.metadata[mark])
        if not place:
            names.update(f"{group.name}.{choice.field}" for choice in group.choices if choice.free)
    return frozenset(names)


def reference(groups: tuple[Group, ...]) -> str:
    """Writes all fields with defaults, ranges and help as Markdown, without a title."""
    lines: list[str] = []
    for group in groups:
        lines += [f"## {group.name}", "", *_TABLE]
        for choice in group.choices:
            names = ", ".join(f"`{name}`" if name else "`''`" for name in choice.components)
            meaning = f"{_cell(choice.help)}: {names}"
            lines.append(f"| `{group.name}.{choice.field}` | `{choice.default!r}` | {meaning} |")
        lines += [*_reference_rows(group.name, [group.options]), ""]
        for choice in group.choices:
            lines += _reference_components(f"{group.name}.{choice.field}", choice.components)
        for name, components in group.components().items():
            path = f"{group.name}.{name}"
            lines += [f"### {path}", "", *_TABLE]
            lines += [*_reference_rows(path, [one.options for one in components]), ""]
    return "\n".join(lines)


_TABLE = ("| field | default | meaning |", "|---|---|---|")


def _reference_components(field: str, registry: Registry) -> Iterator[str]:
    """Yields what the values of a choice are and need, where there is anything to say."""
    if not any(one.about or one.needs for one in registry.values()):
        return
    yield from (f"| `{field}` | description | needs |", "|---|---|---|")
    for name, one in registry.items():
        shown = f"`{name}`" if name else "`''`"
        yield f"| {shown} | {_cell(one.about)} | {'; '.join(one.needs)} |"
    yield ""


def _reference_rows(path: str, classes: list[type]) -> Iterator[str]:
    """Yields a row for each field; one that two classes have is shown once."""
    fields = {field.name: field for options in classes for field in dataclasses.fields(options)}
    for field in fields.values():
        limits, choices = limits_in_words(field), field.metadata["choices"]
        allowed = [limits] if limits else []
        allowed += (
            [", ".join(f"`{name}`" if name else "`''`" for name in choices)] if choices else []
        )
        meaning = "; ".join([_cell(field.metadata["help"]), *allowed])
        yield f"| `{path}.{field.name}` | `{field.default!r}` | {meaning} |"


def _cell(text: str) -> str:
    """Escapes what a table of Markdown would read as a column or a tag."""
    return text.replace("|", "\\|").replace("<", "&lt;")
