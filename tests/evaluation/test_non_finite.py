"""A model that left the finite numbers is refused in one line, whatever metric shows it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jvae
from jvae.errors import UserError
from jvae.evaluation.functions import make_functions
from tests.evaluation.setting import evidence_of, results_of, sentences, table_model

N, L = 6, 2


def log_likelihood(z):
    """The lower the farther from 0 z is, beyond all bounds above 10."""
    return -jnp.where(jnp.abs(z) > 10, jnp.inf, jnp.square(z)).sum(axis=-1)


MODEL = table_model(
    lambda table, index: jvae.DiagonalGaussian(table["mean"][index], table["log_var"][index]),
    log_likelihood,
    jvae.standard_normal(latent_size=L),
)


@pytest.fixture(scope="module")
def results():
    functions, split = make_functions(MODEL), sentences(N, batch_size=N)

    def results(mean: float, log_var: float) -> dict:
        """With the last sentence's posterior; the others' is N(0, e^-2)."""
        table = {"mean": np.zeros((N, L), np.float32), "log_var": np.full((N, L), -2.0)}
        table["mean"][-1], table["log_var"][-1] = mean, log_var
        return results_of(evidence_of(functions, table, split, jax.random.key(0), iw_samples=2))

    return results


def test_finite_numbers_are_judged(results):
    assert results(1.0, -2.0)["verdict"]["label"]


@pytest.mark.parametrize(
    ("mean", "log_var", "name"),
    [(20.0, -2.0, "rec"), (0.0, -np.inf, "KL"), (1.0, np.inf, "rec"), (0.0, -800.0, "IW-NLL")],
)
def test_others_are_refused(results, mean, log_var, name):
    with pytest.raises(UserError, match=f"the {name} of the evaluated sentences became non-finite"):
        results(mean, log_var)
