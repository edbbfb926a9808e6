"""Refuses configurations that would fail later, less clearly: fields that do not go together."""

from ml_collections import ConfigDict

from jvae.errors import UserError
from jvae.experiments.checks_sets import check_sets
from jvae.experiments.checks_values import check_values
from jvae.experiments.objective import check_objective
from jvae.posteriors import OF_TOKENS


def check(config: ConfigDict) -> None:
    """Refuses values, and combinations of them, that would fail later, less clearly.

    Raises:
      UserError: names the fields, their values and what is allowed.
    """
    model, training = config.model, config.training
    check_values(config)
    if model.skip and model.decoder == "cnn":
        raise UserError("model.skip needs model.decoder = 'lstm' or 'transformer', not 'cnn'")
    if model.skip and model.posterior in OF_TOKENS:
        raise UserError(
            f"model.skip needs one latent vector: model.posterior = {model.posterior!r} has a set"
        )
    for name, used in {
        "model.skip": model.skip,
        "model.denoise": model.denoise,
        "objective.bow_weight": config.objective.bow_weight,
    }.items():
        if used and model.mode == "lm":
            raise UserError(f"{name} = {used!r} needs a latent: model.mode = 'lm' has none")
    check_objective(config)
    check_sets(config)
    if model.prior not in ("standard_normal", "normal_set") and model.mode != "vae":
        raise UserError(
            f"model.prior = {model.prior!r} needs model.mode = 'vae': in mode {model.mode!r} "
            "nothing would teach it"
        )
    if model.prior == "vamp" and model.encoder == "none":
        raise UserError("model.prior = 'vamp' needs a model.encoder that reads embeddings: 'lstm'")
    _check_posterior(config)
    _check_posterior_map(config)
    if training.pretrain_epochs and model.mode != "vae":
        raise UserError(
            f"training.pretrain_epochs = {training.pretrain_epochs} needs model.mode = 'vae', not "
            f"{model.mode!r}"
        )
    if training.pretrain_epochs and model.posterior in OF_TOKENS:
        raise UserError(
            f"training.pretrain_epochs = {training.pretrain_epochs} does not go with "
            f"model.posterior = {model.posterior!r}: its autoencoder has the prior of one vector, "
            "not of sets"
        )
    if training.pretrain_epochs and training.start_from:
        raise UserError(
            f"training.start_from = {training.start_from!r} needs training.pretrain_epochs = 0: "
            "both give the first parameters"
        )
    _check_refinement(config)
    if model.encoder == "none" and model.mode != "lm":
        raise UserError(f"model.encoder = 'none' needs model.mode = 'lm', not {model.mode!r}")
    if training.memory_gb and training.parallel == "pmap":
        raise UserError("training.memory_gb needs training.parallel = 'jit', not 'pmap'")
    if training.vocab_shards > 1 and training.parallel == "pmap":
        raise UserError("training.vocab_shards needs training.parallel = 'jit', not 'pmap'")
    if training.aggressive and model.mode != "vae":
        raise UserError(
            f"training.aggressive needs model.mode = 'vae': with {model.mode!r} the encoder has "
            "no posterior to train"
        )


def _check_posterior(config: ConfigDict) -> None:
    model = config.model
    name = f"model.posterior = {model.posterior!r}"
    if (model.posterior == "vmf") != (model.prior == "uniform_sphere"):
        raise UserError(
            f"{name} does not go with model.prior = {model.prior!r}: 'vmf' and 'uniform_sphere' "
            "live on the sphere, and need each other"
        )
    if model.posterior == "diagonal":
        return
    if model.mode != "vae" and (model.mode, model.posterior) != ("ae", "vt"):
        raise UserError(f"{name} needs model.mode = 'vae': {model.mode!r} has no such posterior")
    if model.posterior == "vmf" and model.latent_size == 1:
        raise UserError(f"{name} needs model.latent_size of at least 2: a sphere")
    for field, works in (("loss", "elbo"), ("rate_control", "")):
        if model.posterior == "vmf" and config.objective[field] != works:
            raise UserError(
                f"objective.{field} = {config.objective[field]!r} does not go with {name}: its KL "
                "is a constant, which model.vmf_kappa sets"
            )
    if model.prior == "vamp":
        raise UserError(f"{name} does not go with model.prior = 'vamp', a mixture of 'diagonal'")
    if model.posterior_map != "none":
        raise UserError(
            f"{name} does not go with model.posterior_map = {model.posterior_map!r}: its bound "
            "holds for 'diagonal'"
        )
    if model.posterior in ("planar", "iaf") and config.objective.gradient != "plain":
        raise UserError(
            f"{name} needs objective.gradient = 'plain', not {config.objective.gradient!r}: a flow "
            "knows the density of its own draws, not that at fixed parameters"
        )
    if config.training.aggressive:
        raise UserError(
            f"{name} does not go with training.aggressive: its phase ends by the mutual "
            "information, whose estimator takes 'diagonal'"
        )


def _check_posterior_map(config: ConfigDict) -> None:
    model, training = config.model, config.training
    name = f"model.posterior_map = {model.posterior_map!r}"
    if model.posterior_map == "none":
        return
    if model.mode != "vae":
        raise UserError(f"{name} needs model.mode = 'vae': it bounds the KL of a posterior")
    if model.prior != "standard_normal":
        raise UserError(
            f"{name} needs model.prior = 'standard_normal': a prior that learns would follow the "
            "posteriors, and their KL is not bounded from below"
        )
    if model.posterior_map in ("batch_norm", "diversity"):
        if training.batch_size == 1:
            raise UserError(f"{name} needs training.batch_size of at least 2: its moments vary")
        if training.parallel == "pmap" or training.memory_gb:
            raise UserError(
                f"{name} takes moments over the whole batch: it needs training.parallel = 'jit' "
                "and training.memory_gb = 0"
            )


def _check_refinement(config: ConfigDict) -> None:
    model = config.model
    if not 0 <= model.refine_momentum < 1:
        raise UserError(
            f"model.refine_momentum = {model.refine_momentum} must be at least 0 and below 1"
        )
    if not model.refine_steps:
        return
    for field, value, why in (
        ("model.mode", "vae", "elsewhere there is no posterior to refine"),
        ("model.posterior", "diagonal", "the steps move its mean and log variance"),
        ("model.posterior_map", "none", "the steps would leave its bound"),
        ("objective.bound", "elbo", "that is what the steps raise"),
        ("objective.gradient", "plain", "the training gradient passes through the steps"),
        ("training.aggressive", False, "both keep q up with the decoder; each update would refine"),
    ):
        group, name = field.split(".")
        if config[group][name] != value:
            raise UserError(
                f"model.refine_steps = {model.refine_steps} needs {field} = {value!r}, "
                f"not {config[group][name]!r}: {why}"
            )
