"""Refuses what Transformers and sets of vectors cannot do."""

from ml_collections import ConfigDict

from jvae.errors import UserError
from jvae.experiments.building import most_tokens
from jvae.posteriors import OF_TOKENS

# The prior that each family of sets needs.
PRIORS_OF_SETS = {"vt": "normal_set", "vts": "normal_set", "nvib": "dirichlet_process"}


def check_sets(config: ConfigDict) -> None:
    """Refuses combinations without a meaning; the values themselves are known.

    Raises:
      UserError: names the field, its value and what it needs.
    """
    _check_transformer(config)
    _check_attention(config)
    _check_sets(config)
    _check_nvib_layers(config)
    _check_weights(config)


def check_longest(config: ConfigDict, longest: int) -> None:
    """Refuses sentences of more tokens than the model can count.

    Args:
      config: all of it.
      longest: predicted tokens of the longest sentence.

    Raises:
      UserError: says which field to change.
    """
    model = config.model
    counted = model.posterior in OF_TOKENS and model.mode == "vae"
    if counted and not config.data.max_length and longest > most_tokens(config):
        raise UserError(
            f"model.max_positions = {model.max_positions} must be at least {longest}, the tokens "
            "of the longest sentence: the prior counts a sentence's vectors; raise it, or set "
            "data.max_length"
        )


def _check_transformer(config: ConfigDict) -> None:
    model = config.model
    if "transformer" not in (model.encoder, model.decoder):
        return
    if model.hidden_size % model.heads:
        raise UserError(
            f"model.heads = {model.heads} does not divide model.hidden_size = {model.hidden_size}: "
            "each head has an equal share"
        )
    longest = config.data.max_length + 1
    if model.positions == "learned" and longest > model.max_positions:
        raise UserError(
            f"model.max_positions = {model.max_positions} must be at least {longest}: "
            f"data.max_length = {config.data.max_length} and </s>"
        )


def _check_attention(config: ConfigDict) -> None:
    model = config.model
    denoising = model.attention == "denoising"
    if denoising and model.posterior != "nvib":
        raise UserError(
            f"model.attention = 'denoising' needs model.posterior = 'nvib', not "
            f"{model.posterior!r}: it reads weights and variances"
        )
    if model.attention_bias != "half" and not (denoising or model.nvib_layers):
        raise UserError(
            f"model.attention_bias = {model.attention_bias!r} needs model.attention = 'denoising' "
            "or model.nvib_layers above 0: no other attention has it"
        )


def _check_sets(config: ConfigDict) -> None:
    model, objective = config.model, config.objective
    if model.posterior not in OF_TOKENS:
        if model.prior in PRIORS_OF_SETS.values():
            raise UserError(
                f"model.prior = {model.prior!r} does not go with model.posterior = "
                f"{model.posterior!r}: it is one of sets"
            )
        return
    name = f"model.posterior = {model.posterior!r}"
    for field, needed in (
        ("encoder", "transformer"),
        ("decoder", "transformer"),
        ("prior", PRIORS_OF_SETS[model.posterior]),
    ):
        if model[field] != needed:
            raise UserError(f"{name} needs model.{field} = {needed!r}, not {model[field]!r}")
    if model.denoise == "drop":
        raise UserError(
            f"{name} does not go with model.denoise = 'drop': the prior would learn how many "
            "vectors damaged sentences have; take 'swap' or 'mask'"
        )
    for field in ("bow_weight", "mi_weight"):
        if objective[field]:
            raise UserError(
                f"objective.{field} = {objective[field]} needs one latent vector a sentence: "
                f"{name} has a set"
            )
    if objective.gradient != "plain":
        raise UserError(
            f"{name} needs objective.gradient = 'plain', not {objective.gradient!r}, which knows "
            "one vector and one KL term, not those of a set"
        )
    if model.posterior != "nvib":
        return
    for field, works in (("loss", ("elbo", "by_name")), ("rate_control", ("",))):
        if objective[field] not in works:
            raise UserError(
                f"objective.{field} = {objective[field]!r} does not go with {name}: it aims at "
                "nats of the KL, and what NVIB trains with in its place is none"
            )
    if (model.mode, objective.loss, objective.bound) == ("vae", "elbo", "elbo"):
        raise UserError(
            f"objective.loss = 'elbo' does not go with {name}: training has other terms than the "
            "bound, by which it would choose its best epoch; take 'by_name', which weighs these"
        )


def _check_nvib_layers(config: ConfigDict) -> None:
    model, objective = config.model, config.objective
    if not model.nvib_layers:
        return
    name = f"model.nvib_layers = {model.nvib_layers}"
    if model.encoder != "transformer":
        raise UserError(f"{name} needs model.encoder = 'transformer', not {model.encoder!r}")
    if model.nvib_layers > model.layers:
        raise UserError(
            f"{name} must be at most model.layers = {model.layers}: it is so many of them"
        )
    if model.posterior_map != "none":
        raise UserError(
            f"{name} does not go with model.posterior_map = {model.posterior_map!r}, which knows "
            "nothing of the layers' KL terms"
        )
    if objective.loss != "by_name":
        raise UserError(
            f"{name} needs objective.loss = 'by_name', not {objective.loss!r}: its layers' KL "
            "terms are no part of the bound, and have weights of their own"
        )
    if objective.gradient != "plain":
        raise UserError(
            f"{name} needs objective.gradient = 'plain', not {objective.gradient!r}: it would "
            "leave out its layers' KL terms"
        )


def _check_weights(config: ConfigDict) -> None:
    objective = config.objective
    for field in ("gaussian_weight", "dirichlet_weight"):
        named = config.model.mode != "vae" or objective.loss == "by_name"
        if objective[field] != 1 and not named:  # without a KL nothing is weighed
            raise UserError(
                f"objective.{field} = {objective[field]} needs objective.loss = 'by_name', not "
                f"{objective.loss!r}: other losses give the KL one weight, objective.kl_end"
            )
