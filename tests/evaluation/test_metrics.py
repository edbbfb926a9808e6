"""Which numbers a model defines, and what tables, columns and lines make of them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jvae
from jvae.evaluation.evaluate import columns, epoch_line, table_rows, validation_metrics
from jvae.evaluation.evidence import offers
from jvae.evaluation.functions import make_functions
from jvae.evaluation.metrics import ACTIVE_UNITS, LIKELIHOOD, VAE_METRICS
from jvae.evaluation.offers import Offers
from jvae.model import fixed_prior
from jvae.remedies import semi_amortised
from tests.conftest import VOCAB, make_batch
from tests.evaluation.setting import NOUNS, evidence_of, points, results_of, sentences, table_model

KEY, N, L = jax.random.key(3), 40, 3
SIZES = {"vocab_size": VOCAB, "latent_size": L, "embed_size": 4, "hidden_size": 4}
RECORD = {"epoch": 3, "kl_weight": 0.5, "seconds": 2.4}


def offered(encoder=jvae.lstm_encoder, prior=None, change=lambda model: model, **options) -> Offers:
    encoder = encoder(**SIZES, **options)
    prior = jvae.standard_normal(latent_size=L) if prior is None else prior(encoder)
    model = change(jvae.VAE(encoder, jvae.lstm_decoder(**SIZES), prior))
    batch = make_batch()
    params = jax.eval_shape(lambda key: jvae.init(model, batch, key=key), KEY)
    return offers(model, params, batch, KEY)


def vamp(encoder):
    return jvae.vamp(encoder=encoder, components=2, length=3, embed_size=4, init_scale=0.1)


def refined(model):
    return semi_amortised(model, steps=2, learning_rate=0.1, momentum=0.5, clip_norm=5.0)


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        ({}, set()),
        ({"change": refined}, set()),
        ({"point": True}, {"density"}),
        ({"family": jvae.full()}, {"diagonal"}),
        (
            {"family": jvae.vmf(kappa=5.0), "prior": lambda _: jvae.uniform_sphere(latent_size=L)},
            {"diagonal"},
        ),
        ({"family": jvae.planar(steps=2)}, {"diagonal", "closed_form_kl"}),
        ({"family": jvae.iaf(steps=2, hidden=4)}, {"diagonal", "closed_form_kl"}),
        (
            {"prior": lambda _: jvae.mixture(latent_size=L, components=2)},
            {"closed_form_kl"},
        ),
        ({"prior": vamp}, {"closed_form_kl"}),
    ],
    ids=["diagonal", "refined", "point", "full", "vmf", "planar", "iaf", "mixture", "vamp"],
)
def test_a_model_offers_what_its_families_do(options, missing):
    found = offered(**options)
    assert {name for name in ("latent", "one_vector") if not getattr(found, name)} == set()
    assert not found.vector_set and not found.more
    assert {
        n for n in ("density", "diagonal", "closed_form_kl") if not getattr(found, n)
    } == missing


def test_a_model_without_a_latent_offers_its_bound():
    found = offered(lambda **sizes: jvae.no_encoder())
    assert found == Offers(latent=False, one_vector=False, diagonal=False)


class Undescribed(NamedTuple):
    """A Gaussian that says neither that it is diagonal nor its KL."""

    mean: jax.Array
    log_var: jax.Array

    def sample(self, keys):
        return jvae.DiagonalGaussian(*self).sample(keys)

    def log_prob(self, z):
        return jvae.DiagonalGaussian(*self).log_prob(z)


class Classes(NamedTuple):
    """One of K classes, as a number; it has no moments."""

    logits: jax.Array

    @property
    def capabilities(self):
        return frozenset({"kinds"})

    def sample(self, keys):
        logits = jnp.broadcast_to(self.logits, (len(keys), self.logits.shape[-1]))
        return jax.vmap(jax.random.categorical)(keys, logits)

    def log_prob(self, z):
        return jnp.sum(jax.nn.one_hot(z, L) * jax.nn.log_softmax(self.logits), axis=-1)


def near_one(z):
    """The nearer z is to 1, the likelier."""
    return -jnp.sum(jnp.square(z - 1), axis=-1)


def evidence(posterior, prior, likelihood=near_one, **options):
    functions = make_functions(table_model(posterior, likelihood, prior))
    table = {"mean": points(N, L), "log_var": np.full((N, L), -2.0)}
    options = {"iw_samples": 3, "mi_batch_size": 16} | options
    return lambda **more: evidence_of(functions, table, sentences(N), KEY, **options | more)


def gaussian(table, index):
    return jvae.DiagonalGaussian(table["mean"][index], table["log_var"][index])


def undescribed(table, index):
    return Undescribed(*gaussian(table, index))


@pytest.fixture(scope="module")
def described():
    return evidence(gaussian, jvae.standard_normal(latent_size=L))


def test_an_estimated_kl_is_said_to_be_one_and_has_no_dimensions(described):
    estimate = evidence(undescribed, jvae.standard_normal(latent_size=L))()
    exact, estimated = results_of(described()), results_of(estimate)
    assert exact["kl_analytic"] and not estimated["kl_analytic"]
    assert sum(exact["kl_per_dim"]) == pytest.approx(exact["kl"], rel=1e-5)
    assert estimated["kl"] == pytest.approx(exact["kl"], abs=4 * estimated["kl_se"])
    assert not {"kl_per_dim", "mi_batch", "mi_corpus", "verdict"} & estimated.keys()
    assert exact.keys() - estimated.keys() == {"kl_per_dim", "mi_batch", "mi_corpus", "verdict"}
    rows = [
        {name: (text, note) for name, text, note in table_rows(VAE_METRICS, results, NOUNS)}
        for results in (exact, estimated)
    ]
    assert rows[0]["KL"][1] == "nats per sentence"
    assert rows[1]["KL"][1] == "nats per sentence, Monte Carlo, one z a sentence"
    assert "MI (corpus)" in rows[0] and "MI (corpus)" not in rows[1]
    assert rows[0]["AU"][0] == f"{L} of {L}"

    record = validation_metrics(VAE_METRICS, estimate)
    assert record["kl"] == estimated["kl"] and record["elbo"] == estimated["elbo"]
    assert "mi" not in record and "kl_per_dim" not in record and record["au"] == L


def test_validation_has_the_numbers_of_the_results_and_one_line(described):
    record = validation_metrics(VAE_METRICS, described(lean=True))
    results = results_of(described())
    for name in ("rec", "kl", "elbo", "au", "kl_per_dim"):
        assert record[name] == results[name]
    assert record["mi"] == results["mi_batch"]["value"]
    assert epoch_line(VAE_METRICS, record | RECORD) == (
        f"epoch 3: valid elbo {record['elbo']:.2f}  rec {record['rec']:.2f}  "
        f"kl {record['kl']:.2f}  mi {record['mi']:.2f}  au {L}  kl weight 0.50  2 s"
    )
    line = epoch_line((LIKELIHOOD, ACTIVE_UNITS), {"elbo": -1, "rec": 1, "kl": 0} | RECORD)
    assert line == "epoch 3: valid elbo -1.00  rec 1.00  kl 0.00  kl weight 0.50  2 s"


def test_validation_keeps_samples_only_for_the_estimate_of_mi(described):
    assert described(lean=True).terms.z is not None
    other = evidence(undescribed, jvae.standard_normal(latent_size=L))
    assert other(lean=True).terms.z is None and other().terms.z is not None


def test_numbers_of_a_discrete_latent():
    prior = fixed_prior(lambda: Classes(jnp.zeros((1, L))))
    found = evidence(lambda table, index: Classes(table["mean"][index]), prior, lambda z: -z * 1.0)
    results, record = results_of(found()), validation_metrics(VAE_METRICS, found())
    assert found().offers == Offers(
        one_vector=False, diagonal=False, closed_form_kl=False, more=frozenset({"kinds"})
    )
    assert found().offers.meets(frozenset({"latent", "kinds"}))
    assert not found().offers.meets(frozenset({"kinds", "trees"}))
    assert {"rec", "kl", "elbo", "iw_nll", "shuffled_rec", "prior_rec"} <= results.keys()
    assert not {"au", "mmd", "mi_batch", "verdict", "latent_size"} & results.keys()
    assert record.keys() == {"elbo", "rec", "kl"}
    shown = [row[0] for row in table_rows(VAE_METRICS, results, NOUNS)]
    assert shown[-4:] == ["rec", "KL", "rec, shuffled z", "rec, prior z"]


def test_each_thing_is_computed_once(described):
    calls = []

    def counted(name, function):
        return lambda *arguments, **options: calls.append(name) or function(*arguments, **options)

    functions = described().functions
    names = ("encode", "decode", "draw")
    functions = functions._replace(**{n: counted(n, getattr(functions, n)) for n in names})
    table = {"mean": points(N, L), "log_var": np.full((N, L), -2.0)}
    results_of(evidence_of(functions, table, sentences(N), KEY, iw_samples=3))
    # One batch: own, shuffled and prior z are decoded; MMD and prior z are drawn.
    assert sorted(calls) == ["decode"] * 3 + ["draw"] * 2 + ["encode"]


def test_importance_weights_of_the_first_examples_are_those_of_all(described):
    every, some = results_of(described()), results_of(described(iw_examples=8))
    assert some["iw_nll_each"] == every["iw_nll_each"][:8]
    assert (some["iw_examples"], every["iw_examples"]) == (8, N)
    rows = {name: (text, note) for name, text, note in table_rows(VAE_METRICS, some, NOUNS)}
    assert rows["IW-NLL(3)"][1] == "nats per sentence, first 8 sentences"
    assert rows["  -ELBO of these"][0].startswith(f"{some['k_curve']['nll'][0]:.2f} ± ")
    assert rows["PPL (IW)"][1] == "per predicted token, </s> counted"
    assert "  -ELBO of these" not in {row[0] for row in table_rows(VAE_METRICS, every, NOUNS)}


def test_columns_of_a_comparison_have_the_words_of_the_task(described):
    found = {column.name: column for column in columns(VAE_METRICS, NOUNS)}
    assert list(found) == [
        *("IW-NLL", "over LM", "PPL", "-ELBO", "rec", "KL", "MI", "AU", "MMD^2"),
    ]
    assert found["IW-NLL"].reads == "nats per sentence; at or below its language model's"
    results = results_of(described())
    assert found["-ELBO"].value(results) == -results["elbo"]
    assert found["IW-NLL"].error(results) == results["iw_nll_se"]
    assert found["over LM"].value(results) is None and found["MI"].value({}) is None
    assert found["-ELBO"].value({"rec": 1.0}) is None
