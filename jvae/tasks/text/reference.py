"""The reference of all fields of text runs, `docs/configuration.md`.

python -m jvae.tasks.text.reference > docs/configuration.md
"""

from jvae.components import reference
from jvae.tasks.text.config import TEXT_GROUPS

HEAD = """# Configuration

Every field of `python -m jvae.experiments.text`, of its corpora and of its comparisons. On the
command line a field is `--config.GROUP.FIELD=VALUE`. This page is generated from the code:
`python -m jvae.tasks.text.reference > docs/configuration.md`.

"""


def page() -> str:
    """Returns the page as Markdown."""
    return HEAD + reference(TEXT_GROUPS)


if __name__ == "__main__":
    print(page(), end="")
