"""Made-up outcomes, the report of text, and runs that are not trained."""

from functools import partial

from jvae.compare import report
from jvae.compare.advice import recommendation
from jvae.compare.columns import rows
from jvae.runs.directory import RESULTS, save_results
from tests.tiny import TEXT

FORM = report.form_of(TEXT, TEXT.methods)
advise = partial(recommendation, methods=TEXT.methods, nouns=TEXT.nouns)
table = partial(rows, columns=FORM.columns)


def outcome(method, seed=0, *, label="used", **results):
    numbers = {"iw_nll": 30.0, "iw_nll_se": 0.1, "elbo": -31.0, "rec": 29.0, "kl": 2.0, "au": 4}
    numbers |= {"corpus": "chitchat", "best_epoch": 1, "verdict": {"label": label}} | results
    history = [{"epoch": 1, "seconds": 2.0}, {"epoch": 2, "seconds": 3.0}]
    done = {"results": numbers, "history": history}
    return {"method": method, "seed": seed, "folder": f"runs/{method}/seed-{seed}"} | done


def failed(method, seed=0, reason="the KL became [bold] < non-finite"):
    return {"method": method, "seed": seed, "folder": f"runs/{method}", "error": reason}


def untrained(results, raised=None):
    """A runner that writes results(method), or raises what `raised` has for it."""

    def run(task, config, folder, console, **shared):
        method = folder.parent.name
        if method in (raised or {}):
            raise raised[method]
        save_results(folder, results(method), RESULTS)

    return run
