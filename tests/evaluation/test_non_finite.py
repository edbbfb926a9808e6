"""A model that left the finite numbers is refused in one line, whatever figure shows it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jvae
from jvae.data.encoding import Split
from jvae.errors import UserError
from jvae.evaluation.evaluate import EvaluationSettings, evaluate
from jvae.evaluation.programs import SplitBatches, make_programs
from tests.conftest import make_sentences
from tests.evaluation.setting import table_model

N, L = 6, 2


def log_likelihood(z):
    """The lower the farther from 0 z is, beyond all bounds above 10."""
    return -jnp.where(jnp.abs(z) > 10, jnp.inf, jnp.square(z)).sum(axis=-1)


MODEL = table_model(
    lambda table, index: jvae.DiagonalGaussian(table["mean"][index], table["log_var"][index]),
    log_likelihood,
    L,
)


@pytest.fixture(scope="module")
def results_of():
    programs = make_programs(MODEL)
    split = SplitBatches(Split(*make_sentences(N, 5)), (5,), N)

    def results(mean: float, log_var: float) -> dict:
        """With the last sentence's posterior; the others' is N(0, e^-2)."""
        encoder = {"mean": np.zeros((N, L), np.float32), "log_var": np.full((N, L), -2.0)}
        encoder["mean"][-1], encoder["log_var"][-1] = mean, log_var
        params = {"encoder": jax.tree.map(jnp.float32, encoder), "decoder": {}, "prior": {}}
        settings = EvaluationSettings(iw_samples=2)
        return evaluate(programs, params, split, key=jax.random.key(0), settings=settings)[0]

    return results


def test_finite_figures_are_judged(results_of):
    assert results_of(1.0, -2.0)["verdict"]["label"]


@pytest.mark.parametrize(
    ("mean", "log_var", "name"),
    [(20.0, -2.0, "rec"), (0.0, -np.inf, "KL"), (1.0, np.inf, "rec"), (0.0, -800.0, "IW-NLL")],
)
def test_others_are_refused(results_of, mean, log_var, name):
    with pytest.raises(UserError, match=f"the {name} of the evaluated sentences became non-finite"):
        results_of(mean, log_var)
