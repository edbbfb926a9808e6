"""Components own their options; one loop checks what they give and need."""

import dataclasses

import pytest
from ml_collections import ConfigDict

from jvae.components import (
    Choice,
    Component,
    Group,
    Rule,
    Switch,
    build,
    check,
    default_config,
    free_fields,
    options_of,
    reference,
)
from jvae.configs import option
from jvae.errors import UserError


@dataclasses.dataclass(frozen=True)
class WheelOptions:
    spokes: int = option(8, "of each wheel", above=2)
    form: str = option("round", "of a wheel", choices=("round", "square"))


@dataclasses.dataclass(frozen=True)
class HubOptions(WheelOptions):
    bolts: int = option(3, "of each hub", at_least=1, free=True)


@dataclasses.dataclass(frozen=True)
class CartOptions:
    load: float = option(0.0, "kilograms", at_least=0)
    horses: int = option(1, "that pull")


LEVEL = Rule(
    lambda config: config.cart.load <= 100 * config.cart.horses,
    lambda config: f"cart.load = {config.cart.load} is too much for cart.horses",
)
CART = Group(
    "cart",
    CartOptions,
    choices=(
        Choice(
            "front",
            {
                "": Component(),
                "wheel": Component(
                    WheelOptions,
                    lambda options, shared: options.spokes * shared,
                    gives=frozenset({"rolling"}),
                    parts={
                        "form": {
                            "round": Component(),
                            "square": Component(needs={"several horses": "it rolls badly"}),
                        }
                    },
                    about="a wheel",
                ),
            },
            "wheel",
            "what it rolls on",
        ),
        Choice(
            "back", {"": Component(), "wheel": Component(HubOptions)}, "", "likewise", free=True
        ),
    ),
    switches=(
        Switch("load", on=Component(needs={"rolling": "it is heavy"})),
        Switch("horses", zero=1, on=Component(gives=frozenset({"several horses"}))),
    ),
    rules=(LEVEL,),
)
GROUPS = (CART,)


def config(**fields) -> ConfigDict:
    made = default_config(GROUPS)
    made.update_from_flattened_dict({f"cart.{k.replace('__', '.')}": v for k, v in fields.items()})
    return made


def refused(**fields) -> str:
    with pytest.raises(UserError) as caught:
        check(GROUPS, config(**fields))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_defaults_come_from_the_declarations_and_one_name_is_one_sub_group():
    assert default_config(GROUPS).to_dict() == {
        "cart": {
            "front": "wheel",
            "back": "",
            "load": 0.0,
            "horses": 1,
            "wheel": {"spokes": 8, "form": "round", "bolts": 3},
        }
    }
    check(GROUPS, config())
    with pytest.raises(AttributeError, match="spokes"):
        config().cart.wheel.spoks = 3


def test_a_component_is_built_of_its_options_and_of_what_is_shared():
    assert build(CART, "front", config(wheel__spokes=5), 10) == 50
    found = options_of(CART, "wheel", HubOptions, config(wheel__bolts=4))
    assert found == HubOptions(8, "round", 4)


def test_ranges_and_names_are_checked_whether_or_not_the_component_is_in_force():
    assert refused(front="", wheel__spokes=2) == "cart.wheel.spokes = 2 must be above 2"
    assert refused(wheel__bolts=0) == "cart.wheel.bolts = 0 must be at least 1"
    assert refused(load=float("nan")) == "cart.load = nan must be a finite number"
    assert "did you mean 'wheel'?" in refused(front="weel")
    assert refused(front="?").endswith("known are '' (none), wheel")


def test_a_need_names_the_field_its_value_the_reason_and_what_would_help():
    assert refused(load=5.0, front="") == (
        "cart.load = 5.0 needs rolling: it is heavy; cart.front = 'wheel' gives it, not ''"
    )
    check(GROUPS, config(load=5.0))


def test_a_part_counts_while_its_component_is_in_force():
    assert refused(wheel__form="square") == (
        "cart.wheel.form = 'square' needs several horses: it rolls badly; a cart.horses other than "
        "1 gives it"
    )
    check(GROUPS, config(wheel__form="square", front=""))
    check(GROUPS, config(wheel__form="square", horses=2))


def test_a_rule_looks_at_several_values():
    assert refused(load=150.0) == "cart.load = 150.0 is too much for cart.horses"
    check(GROUPS, config(load=150.0, horses=2))


def test_a_switch_may_look_at_other_fields():
    heavy = Component(needs={"a road": "it sinks in"})
    switch = Switch("load", on=heavy, when=lambda values: values.load / values.horses > 10)
    groups = (dataclasses.replace(CART, switches=(switch,)),)
    check(groups, config(load=15.0, horses=2))
    with pytest.raises(UserError, match="needs a road: it sinks in; nothing here gives it"):
        check(groups, config(load=15.0))
    check((dataclasses.replace(groups[0], gives=frozenset({"a road"})),), config(load=15.0))


def test_free_fields_are_named_with_their_sub_groups():
    assert free_fields(GROUPS) == {"cart.wheel.bolts", "cart.back"}
    assert free_fields(GROUPS, place=True) == set()


def test_the_reference_has_every_field_once():
    page = reference(GROUPS)
    assert "| `cart.wheel.spokes` | `8` | of each wheel; above 2 |" in page
    assert "| `cart.wheel.form` | `'round'` | of a wheel; `round`, `square` |" in page
    assert "| `wheel` | a wheel |  |" in page
    fields = ("front", "back", "load", "horses", "wheel.spokes", "wheel.form", "wheel.bolts")
    for field in fields:
        assert page.count(f"| `cart.{field}` | `") == 1, field
