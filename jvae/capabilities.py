"""Capabilities that components give and need: phrases that error messages quote.

A family adds its own where it needs one; these are the ones that several share.
"""

LATENT = "a latent"
POSTERIOR = "a posterior with a density and a KL"
ONE_VECTOR = "one latent vector for each example"
VECTOR_SET = "a set of vectors for each example"
DIAGONAL = "diagonal Gaussian posteriors"
ANY_DENSITY = "a posterior whose density is known at every z"
FIXED_PRIOR = "a standard normal prior"
WHOLE_BATCH = "batches that are not cut into parts"
ONE_FUNCTION = "one compiled function for all devices"
JOINT_UPDATES = "updates of all parameters at once"
