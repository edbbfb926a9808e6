"""The reference of all metrics of a VAE: `python -m jvae.evaluation.metrics > docs/metrics.md`."""

from jvae.evaluation.evaluate import metrics_reference
from jvae.evaluation.metrics import VAE_METRICS

HEAD = """# Metrics

These numbers stand in a run's `results.json` under their keys, and in the table on the terminal
under their names. They are nats per example unless said otherwise: sums over symbols and
dimensions, means over examples. `.._se` is a standard error over examples. The symbols of a
sentence are its words and `</s>`. A number that a model does not define is absent.

`metrics.jsonl` has `rec`, `kl`, `elbo`, `kl_per_dim`, the parts of the KL, `au` and `vectors` of
the validation split after each epoch, and MI (batch) as `mi`.

This page is generated from the metrics' declarations:
`python -m jvae.evaluation.metrics > docs/metrics.md`.

"""


def page() -> str:
    """Returns the page."""
    return HEAD + metrics_reference(VAE_METRICS)


if __name__ == "__main__":
    print(page(), end="")
