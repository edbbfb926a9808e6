"""The reference of the configuration in docs is that of the code."""

from pathlib import Path

from jvae.configs import flat
from jvae.tasks.text.config import default_config
from jvae.tasks.text.reference import page

PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"


def test_the_page_is_current():
    assert PAGE.read_text(encoding="utf-8") == page(), (
        "run python -m jvae.tasks.text.reference > docs/configuration.md"
    )


def test_every_field_is_on_the_page():
    rows = page()
    for name, value in flat(default_config()):
        assert f"| `{name}` | `{value!r}` | " in rows, name
