"""Reconstruction, KL and ELBO from one sample of each posterior."""

from collections.abc import Mapping
from typing import Any

from jvae.evaluation.corpus import PosteriorTerms
from jvae.evaluation.diagnostics import perplexity, standard_error
from jvae.evaluation.evidence import Evidence
from jvae.evaluation.metric import (
    Column,
    Key,
    Metric,
    Nouns,
    Results,
    Row,
    Text,
    entry,
    fixed,
    with_error,
)


def compute(evidence: Evidence) -> dict[str, Any]:
    """Computes the reconstruction; with a density, KL, ELBO and its perplexity, too."""
    terms, offers = evidence.terms, evidence.offers
    results: dict[str, Any] = {"rec": _mean(terms.rec), "rec_se": standard_error(terms.rec)}
    if offers.latent:
        results |= terms.kl_by_name
    if not offers.density:
        return results
    kl, elbo = evidence.kl, evidence.elbo
    return results | {
        "kl": float(kl.mean()),
        "kl_se": standard_error(kl),
        "kl_analytic": offers.closed_form_kl,
        "elbo": float(elbo.mean()),
        "elbo_se": standard_error(elbo),
        "ppl_elbo": perplexity(float(-elbo.sum()), int(evidence.symbols.sum())),
        **_kl_per_dim(terms),
    }


def validate(evidence: Evidence) -> dict[str, Any]:
    """Computes the same means, with a KL of 0 for point masses."""
    terms = evidence.terms
    return {
        "elbo": float(evidence.elbo.mean()),
        "rec": _mean(terms.rec),
        "kl": float(evidence.kl.mean()),
        **_kl_per_dim(terms),
        **terms.kl_by_name,
    }


def progress(record: Mapping[str, Any]) -> str:
    """Writes the three means."""
    return f"elbo {record['elbo']:.2f}  rec {record['rec']:.2f}  kl {record['kl']:.2f}"


def _mean(values: Any) -> float:
    return float(values.mean(dtype="float64"))


def _kl_per_dim(terms: PosteriorTerms) -> dict[str, list[float]]:
    """Returns nothing where the KL does not factorise, as where it is estimated."""
    if terms.kl.shape[1] != terms.mean.shape[1]:
        return {}
    return {"kl_per_dim": terms.kl.mean(axis=0, dtype="float64").tolist()}


def perplexity_text(key: str) -> Text:
    """Makes the text of a perplexity; those of sets are far from any likelihood."""

    def text(results: Results, nouns: Nouns) -> str:
        value = results[key]
        return f"{value:.2f}" if value < 1e6 else f"{value:.1e}"

    return text


def per_symbol(results: Results, nouns: Nouns) -> str:
    """Says by what a perplexity divides."""
    counted = f", {nouns.counted}" if nouns.counted else ""
    return f"per predicted {nouns.symbol}{counted}"


def _of_latent(text: Text) -> Text:
    """Leaves out a row where there is no latent, whose KL is always 0."""
    return lambda results, nouns: text(results, nouns) if "shuffled_rec" in results else ""


def _kl_note(results: Results, nouns: Nouns) -> str:
    row = nouns.row
    return f"nats per {row}" + ("" if _closed(results) else f", Monte Carlo, one z a {row}")


def _part_note(results: Results, nouns: Nouns) -> str:
    # In closed form the parts sum to the KL; NVIB's first two are what its paper weighs.
    return "nats" if _closed(results) else "nats, as training weighs it; no part of KL"


def _closed(results: Results) -> bool:
    return bool(results.get("kl_analytic", True))


def _minus_elbo(results: Results) -> float | None:
    return -results["elbo"] if "elbo" in results else None


DENSITY = frozenset({"density"})
LIKELIHOOD = Metric(
    name="likelihood",
    needs=frozenset(),
    compute=compute,
    rows=(
        Row("elbo", "ELBO", with_error("elbo"), "nats per {row}, KL weight 1"),
        Row("ppl_elbo", "PPL (ELBO)", perplexity_text("ppl_elbo"), per_symbol),
        Row("rec", "rec", with_error("rec"), "nats per {row}"),
        Row("kl", "KL", _of_latent(with_error("kl")), _kl_note),
        Row("kl_gaussian", "  of Gaussians", _of_latent(fixed("kl_gaussian")), _part_note),
        Row("kl_dirichlet", "  of weights", _of_latent(fixed("kl_dirichlet")), _part_note),
        Row(
            "kl_length",
            "  of the length",
            _of_latent(fixed("kl_length")),
            "nats, -log p(n) of the vectors kept",
        ),
    ),
    columns=(
        Column("-ELBO", _minus_elbo, 2, "of all {row}s; IW-NLL may be of the first only"),
        Column("rec", entry("rec"), 2, "between its {floor}'s NLL and its autoencoder's"),
        Column("KL", entry("kl"), 2, "above 0: what the encoder says about a {row}"),
    ),
    keys=(
        Key("rec, rec_se", "rec", "reconstruction: `-E_q log p(x given z)`, summed over symbols"),
        Key("kl, kl_se", "KL", "`KL(q(z given x) to p(z))`, summed over dimensions", DENSITY),
        Key(
            "kl_analytic",
            "KL",
            "true where the KL is in closed form; else it is the mean of `log q(z given x) - "
            "log p(z)` over one z an example",
            DENSITY,
        ),
        Key("kl_per_dim", "KL", "the KL of each dimension, where it factorises", DENSITY),
        Key(
            "kl_gaussian, kl_dirichlet, kl_length",
            "KL",
            "parts of the KL, or the terms that training takes in its place",
            frozenset({"vector_set"}),
        ),
        Key(
            "kl_gaussian_layers, kl_dirichlet_layers",
            "KL",
            "terms of NVIB layers inside the encoder, which training adds; no part of the KL",
            frozenset({"latent"}),
        ),
        Key("elbo, elbo_se", "ELBO", "`-(rec + KL)`, whatever KL weight training had", DENSITY),
        Key("ppl_elbo", "PPL (ELBO)", "perplexity, `exp(-total ELBO / total symbols)`", DENSITY),
    ),
    validation=validate,
    progress=progress,
)
