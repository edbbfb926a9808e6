"""Capabilities that components give and need: phrases that error messages quote.

A family adds its own where it needs one; these are the ones that several files share.
"""

# The model as a whole.
LATENT = "a latent"
NO_LATENT = "a model without a latent"
POSTERIOR = "a posterior with a density and a KL"

# Encoders and decoders.
TOKEN_STATES = "an encoder with a state for each token"
EMBEDDINGS = "an encoder that reads embeddings"
SET_READER = "a decoder that attends to a set of vectors"
SKIP = "a decoder whose output layer can see z"
DENOISING_ATTENTION = "denoising attention"
PLAIN_POSTERIORS = "posteriors as the encoder makes them"

# Posteriors, and the priors that fit them.
ONE_VECTOR = "one latent vector for each example"
DIAGONAL = "diagonal Gaussian posteriors"
ANY_DENSITY = "a posterior whose density is known at every z"
FEW_VALUES = "a latent with few values"
DISCRETE_GRADIENT = "an estimator of gradients through discrete latents"
FIXED_PRIOR = "a standard normal prior"
DIRECTIONS = "latents on the unit sphere"
SPHERE_PRIOR = "a prior on the unit sphere"
TOKEN_VECTORS = "a Gaussian vector for each token"
TOKEN_PRIOR = "a prior of a set of Gaussian vectors"
MIXTURES = "vectors with Dirichlet weights"
MIXTURE_PRIOR = "a prior of vectors with Dirichlet weights"

# The KL and its weight.
TRAINED_KL = "a KL that training can change"
KL_IN_NATS = "a KL that training weighs in nats"
KL_BY_NAME = "KL terms with weights of their own"
TRAINED_SCORE = "epochs chosen by what training minimises"
RAMP = "a KL weight that rises once, in a straight line"
CONSTANT_WEIGHT = "a constant KL weight"
LAST_WEIGHT_ONE = "a KL weight that ends at 1"
WHOLE_KL = "a KL of which InfoVAE takes nothing away"

# Objectives.
ELBO_LOSS = "the negative ELBO as its loss"
ELBO_BOUND = "the ELBO as its bound"
IMPORTANCE_WEIGHTS = "importance weights"
SEVERAL_SAMPLES = "several samples of z"
PLAIN_GRADIENT = "the plain gradient"
FREE_RATE = "a KL that is not held at a rate"
NO_HEAD = "no head beside the decoder"

# Training.
WHOLE_BATCH = "batches that are not cut into parts"
ONE_FUNCTION = "one compiled function for all devices"
JOINT_UPDATES = "updates of all parameters at once"
