"""Options, their ranges, and the differences of configurations."""

import copy
import dataclasses

import pytest

from jvae.configs import check_options, defaults, difference, flat, merged, option
from jvae.errors import UserError


@dataclasses.dataclass(frozen=True)
class Options:
    share: float = option(0.5, "of all", above=0, at_most=1)
    seed: int = option(0, "of noise", at_least=0, below=10)
    kind: str = option("a", "of it", choices=("a", ""))
    where: str = option("", "a host", place=True)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("share", 0.0, "x.share = 0.0 must be above 0 and at most 1"),
        ("share", 1.1, "x.share = 1.1 must be above 0 and at most 1"),
        ("share", float("inf"), "x.share = inf must be a finite number"),
        ("seed", -1, "x.seed = -1 must be at least 0 and below 10"),
        ("seed", 10, "x.seed = 10 must be at least 0 and below 10"),
        ("kind", "b", "x.kind = 'b' is unknown: known are a, '' (none)"),
    ],
)
def test_a_value_out_of_its_range_is_refused(field, value, says):
    check_options("x", Options, defaults(Options))
    with pytest.raises(UserError) as caught:
        check_options("x", Options, defaults(Options) | {field: value})
    assert str(caught.value) == says


def test_the_limits_themselves_are_allowed_or_not():
    check_options("x", Options, defaults(Options) | {"share": 1.0, "seed": 9, "kind": ""})


OLD = {"a": {"b": 1, "c": {"d": 2.0}}, "e": {"f": "x"}}


def test_fields_are_named_with_dots():
    assert dict(flat(OLD)) == {"a.b": 1, "a.c.d": 2.0, "e.f": "x"}


def test_the_first_difference_is_named_with_both_values():
    new = copy.deepcopy(OLD)
    assert difference(OLD, new, ()) is None
    new["a"]["c"]["d"] = 3.0
    new["e"]["f"] = "y"
    assert difference(OLD, new, ()) == "a.c.d was 2.0 and is now 3.0"
    assert difference(OLD, new, {"a.c.d"}) == "e.f was 'x' and is now 'y'"
    assert difference(OLD, new, {"a.c.d", "e.f"}) is None
    assert difference({}, OLD, {"a.b", "e.f"}) == "a.c.d was None and is now 2.0"


def test_groups_merge_by_field():
    assert merged(OLD, {"a": {"c": {"d": 5.0}}}) == {
        "a": {"b": 1, "c": {"d": 5.0}},
        "e": {"f": "x"},
    }
    assert OLD["a"]["c"]["d"] == 2.0
    with pytest.raises(KeyError, match=r"a\.c\.z"):
        merged(OLD, {"a": {"c": {"z": 1}}})
