"""Components that own their configuration, and the one check of their combinations.

A component stands in a registry, a dictionary from names to `Component`; a `Choice` is a field of
a configuration that names one of them, a `Switch` a field that turns something on. What is active
gives capabilities and needs others; a capability is a phrase, such as "one latent vector", which
messages quote.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from jvae.configs import check_name, check_options, defaults
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
    """What can be chosen.

    Attributes:
      options: a frozen dataclass of `jvae.configs.option` fields.
      build: `(options, shared) -> value`; `shared` are the values that a task offers to all its
        components (sizes, number type), as attributes. None where nothing is built.
      gives: capabilities.
      needs: capability -> why, a clause that completes "...: ".
      rules: what else must hold.
      about: a few words for the reference.
    """

    options: type = NoOptions
    build: Callable[[Any, Any], Any] | None = None
    gives: frozenset[str] = frozenset()
    needs: Mapping[str, str] = dataclasses.field(default_factory=dict)
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
    """

    field: str
    components: Registry
    default: str
    help: str


@dataclasses.dataclass(frozen=True)
class Switch:
    """A field of a group, or of a component ("vamp.components"), that is on unless it is zero.

    Attributes:
      field: its name in the group.
      on: active while the field is not zero, False or "".
      off: active otherwise.
    """

    field: str
    on: Component = Component()
    off: Component = Component()


@dataclasses.dataclass(frozen=True)
class Group:
    """A group of a configuration.

    Attributes:
      name: "model".
      options: a dataclass of its plain fields.
      choices: fields that name components, whose options become sub-groups.
      switches: fields of the options with capabilities and needs.
    """

    name: str
    options: type = NoOptions
    choices: tuple[Choice, ...] = ()
    switches: tuple[Switch, ...] = ()

    def components(self) -> dict[str, Component]:
        """Returns the components that have options, by name.

        One name in two choices, as of an encoder and a decoder, is one sub-group.
        """
        found: dict[str, Component] = {}
        for choice in self.choices:
            for name, component in choice.components.items():
                if dataclasses.fields(component.options):
                    assert found.setdefault(name, component).options is component.options, name
        return found

    def fields(self) -> dict[str, Any]:
        """Returns the group's fields with their defaults, components' options as sub-groups."""
        fields = {choice.field: choice.default for choice in self.choices} | defaults(self.options)
        subgroups = {name: defaults(one.options) for name, one in self.components().items()}
        return fields | subgroups


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
    name = config[group.name][field]
    component = choice.components[name]
    assert component.build is not None, name
    return component.build(options_of(group, name, component, config), shared)


def options_of(group: Group, name: str, component: Component, config: Any) -> Any:
    """Returns the options of a component as its dataclass."""
    if not dataclasses.fields(component.options):
        return component.options()
    values = config[group.name][name]
    return component.options(
        **{f.name: values[f.name] for f in dataclasses.fields(component.options)}
    )


def active(groups: tuple[Group, ...], config: Any) -> Iterator[Active]:
    """Yields the components in force."""
    for group in groups:
        for choice in group.choices:
            name = config[group.name][choice.field]
            yield Active(f"{group.name}.{choice.field}", name, choice.components[name])
        for switch in group.switches:
            value = _value(config, group, switch)
            field = f"{group.name}.{switch.field}"
            yield Active(field, value, switch.on if value else switch.off)


def check(groups: tuple[Group, ...], config: Any) -> None:
    """Checks every value, and the combination of what they put in force.

    Raises:
      UserError: names the field, its value, and what is allowed or needed.
    """
    for group in groups:
        values = config[group.name]
        check_options(group.name, group.options, values)
        for choice in group.choices:
            check_name(f"{group.name}.{choice.field}", values[choice.field], choice.components)
        for name, component in group.components().items():
            check_options(f"{group.name}.{name}", component.options, values[name])
    in_force = list(active(groups, config))
    given = frozenset().union(*(one.component.gives for one in in_force))
    for one in in_force:
        for capability, why in one.component.needs.items():
            if capability not in given:
                providers = _providers(groups, config, capability)
                raise UserError(
                    f"{one.field} = {one.value!r} needs {capability}: {why}; {providers}"
                )
        for rule in one.component.rules:
            if not rule.holds(config):
                raise UserError(rule.message(config))


def _providers(groups: tuple[Group, ...], config: Any, capability: str) -> str:
    """Says which values would give a capability, beside those that are set."""
    found = []
    for group in groups:
        for choice in group.choices:
            names = [n for n, one in choice.components.items() if capability in one.gives]
            if names:
                names_shown = " or ".join(map(repr, names))
                value = config[group.name][choice.field]
                found.append(f"{group.name}.{choice.field} = {names_shown} gives it, not {value!r}")
        for switch in group.switches:
            field, value = f"{group.name}.{switch.field}", _value(config, group, switch)
            if capability in switch.off.gives:
                zero = type(value)()
                found.append(f"{field} = {zero!r} gives it, not {value!r}")
            if capability in switch.on.gives:
                found.append(f"{field} gives it, which is {value!r}")
    return "; ".join(found) or "nothing here gives it"


def _value(config: Any, group: Group, switch: Switch) -> Any:
    value = config[group.name]
    for part in switch.field.split("."):
        value = value[part]
    return value


def free_fields(groups: tuple[Group, ...], *, place: bool = False) -> frozenset[str]:
    """Returns the dotted names of fields that a resumed run may change.

    Args:
      groups: of a task.
      place: only those that say where the processes are.
    """
    mark = "place" if place else "free"

    def marked(path: str, options: type) -> Iterator[str]:
        for field in dataclasses.fields(options):
            if field.metadata[mark]:
                yield f"{path}.{field.name}"

    names: set[str] = set()
    for group in groups:
        names.update(marked(group.name, group.options))
        for name, component in group.components().items():
            names.update(marked(f"{group.name}.{name}", component.options))
    return frozenset(names)


def reference(groups: tuple[Group, ...]) -> str:
    """Writes all fields with defaults, ranges and help as Markdown."""
    lines: list[str] = []
    for group in groups:
        lines += [f"## {group.name}", "", "| field | default | meaning |", "|---|---|---|"]
        for choice in group.choices:
            names = ", ".join(f"`{name}`" if name else "`''`" for name in choice.components)
            meaning = f"{choice.help}: {names}"
            lines.append(f"| `{group.name}.{choice.field}` | `{choice.default!r}` | {meaning} |")
        lines += _reference_rows(group.name, group.options)
        lines.append("")
        for name, component in group.components().items():
            lines += [f"### {group.name}.{name}", ""]
            lines += [f"{component.about}", ""] if component.about else []
            lines += ["| field | default | meaning |", "|---|---|---|"]
            lines += [*_reference_rows(f"{group.name}.{name}", component.options), ""]
    return "\n".join(lines)


def _reference_rows(path: str, options: type) -> Iterator[str]:
    for field in dataclasses.fields(options):
        limits = [f"{words} {limit:g}" for words, limit in field.metadata["limits"].items()]
        choices = field.metadata["choices"]
        allowed = [" and ".join(limits)] if limits else []
        allowed += [", ".join(f"`{name}`" for name in choices)] if choices else []
        meaning = "; ".join([field.metadata["help"], *allowed])
        yield f"| `{path}.{field.name}` | `{field.default!r}` | {meaning} |"
