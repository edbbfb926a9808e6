"""Methods with sets of vectors by name: NVIB and the baselines of its paper, for comparisons.

Henderson and Fehr (2023), A VAE for Transformers with Nonparametric Variational Information
Bottleneck. Their base is an NVIB model, `jvae.experiments.nvib`, from which each differs in its
fields alone.
"""

from jvae.runs.task import Method, Methods

# Fields of methods whose sets have no weights and variances, in NVIB's place.
_SET = {"model.prior": "normal_set", "model.transformer.attention": "dot_product"}
_VECTOR = {
    "model.posterior": "diagonal",
    "model.prior": "standard_normal",
    "model.transformer.attention": "dot_product",
}
METHODS: dict[str, Method] = {
    "t": Method(
        "an autoencoder with a vector for each token, without noise; its samples mean nothing",
        _SET | {"model.mode": "ae", "model.posterior": "vt", "objective.loss": "elbo"},
    ),
    "vt": Method("a Gaussian vector for each token", _SET | {"model.posterior": "vt"}),
    "vtp_mean": Method(
        "one Gaussian vector, of the mean state", _VECTOR | {"model.transformer.pooling": "mean"}
    ),
    "vtp_max": Method(
        "one Gaussian vector, of the largest states", _VECTOR | {"model.transformer.pooling": "max"}
    ),
    **{
        f"vts_{stride}": Method(
            f"vt without a fixed share of {stride} of its vectors",
            _SET | {"model.posterior": "vts", "model.vts.stride": stride},
        )
        for stride in (0.25, 0.5, 0.75)
    },
    **{
        f"nvib_{delta}": Method(
            f"as many Gaussian vectors as needed, {delta} pseudo-counts expected of each token",
            {"model.nvib.delta": delta},
        )
        for delta in (0.1, 0.25, 1.0)
    },
    # The trial of NVIB that dropped vectors: experiments/results/nvib.md, second table.
    "nvib_prune": Method(
        "nvib_0.1 from alphas of 1, its KL from epoch 4 on, the weights' ten times, 20 epochs",
        {
            "model.nvib.delta": 0.1,
            "model.nvib.start": 1.0,
            "objective.by_name.dirichlet_weight": 10.0,
            "objective.kl_delay": 4.0,
            "objective.kl_epochs": 6.0,
            "training.epochs": 20,
        },
    ),
}
NVIB = Methods(
    plain=lambda base: {}, methods=METHODS, bounds=lambda name: (), default=tuple(METHODS)
)
