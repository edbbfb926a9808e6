"""Clusters and nearest neighbours in latent space."""

from collections.abc import Sequence

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, homogeneity_score, normalized_mutual_info_score
from sklearn.neighbors import NearestNeighbors

from jvae.errors import UserError

METRICS = ("euclidean", "cosine")


def clusters(latents: np.ndarray, number: int, *, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Runs k-means; returns the numbers of each cluster's vectors, and each vector's cluster `[N]`.

    The larger clusters come first, and in a cluster what is nearest to its centre.

    Args:
      latents: `[N, L]`.
      number: of clusters.
      seed: of the ten starts, of which the best counts.

    Raises:
      UserError: fewer distinct vectors than clusters.
    """
    distinct = len(np.unique(latents, axis=0))
    if distinct < number:
        raise UserError(
            f"{number} clusters of {distinct} distinct latent vectors: ask for fewer clusters, or "
            "give more sentences"
        )
    fitted = KMeans(number, n_init=10, random_state=seed).fit(latents)
    order = np.argsort(-np.bincount(fitted.labels_, minlength=number), kind="stable")
    members = np.argsort(order)[fitted.labels_]  # numbered by size
    distances = np.linalg.norm(latents - fitted.cluster_centers_[fitted.labels_], axis=1)
    by_distance = np.argsort(distances, kind="stable")
    return [by_distance[members[by_distance] == cluster] for cluster in range(number)], members


def cluster_agreement(labels: Sequence[str], members: np.ndarray) -> dict[str, float]:
    """Computes normalised mutual information, adjusted Rand index, homogeneity: 1 is perfect.

    For random clusters the adjusted Rand index is 0 on average, the other two are above it, the
    more so the more clusters there are.

    Args:
      labels: `[N]`.
      members: the cluster `[N]` of each.
    """
    return {
        "NMI": float(normalized_mutual_info_score(labels, members)),
        "ARI": float(adjusted_rand_score(labels, members)),
        "homogeneity": float(homogeneity_score(labels, members)),
    }


def nearest(
    latents: np.ndarray, queries: np.ndarray, number: int, metric: str
) -> tuple[np.ndarray, np.ndarray]:
    """Returns distances and numbers of the nearest vectors, `[Q, number]`, nearest first.

    Args:
      latents: `[N, L]`.
      queries: `[Q, L]`.
      number: how many; all N where there are no more.
      metric: "euclidean", or "cosine" for `1 - cos`.
    """
    index = NearestNeighbors(n_neighbors=min(number, len(latents)), metric=metric).fit(latents)
    return index.kneighbors(queries)
