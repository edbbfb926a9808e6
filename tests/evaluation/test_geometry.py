"""Neighbours against brute force, clusters of points whose kind is known."""

import numpy as np
import pytest

from jvae.errors import UserError
from jvae.evaluation.geometry import METRICS, cluster_agreement, clusters, nearest


@pytest.mark.parametrize("metric", METRICS)
def test_neighbours_are_those_of_brute_force(metric):
    rng = np.random.default_rng(0)
    latents, queries = rng.normal(size=(40, 3)), rng.normal(size=(5, 3))
    distances, numbers = nearest(latents, queries, 7, metric)
    for row, query in enumerate(queries):
        if metric == "euclidean":
            every = np.sqrt(((latents - query) ** 2).sum(axis=1))
        else:
            norms = np.sqrt((latents**2).sum(axis=1) * (query**2).sum())
            every = 1 - latents @ query / norms
        order = np.argsort(every)[:7]
        np.testing.assert_array_equal(numbers[row], order)
        np.testing.assert_allclose(distances[row], every[order], rtol=1e-6, atol=1e-9)
    assert nearest(latents[:3], queries, 7, metric)[1].shape == (5, 3)


def test_clusters_are_the_kinds():
    rng = np.random.default_rng(0)
    kind = rng.permutation(np.repeat([0, 1, 2], [10, 30, 20]))
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    latents = centres[kind] + rng.normal(size=(60, 2))
    found, members = clusters(latents, 3, seed=0)
    assert [len(rows) for rows in found] == [30, 20, 10]
    for number, (rows, real) in enumerate(zip(found, (1, 2, 0), strict=True)):
        assert (
            set(rows) == set(np.flatnonzero(kind == real)) == set(np.flatnonzero(members == number))
        )
        centre = latents[kind == real].mean(axis=0)
        distances = np.linalg.norm(latents[rows] - centre, axis=1)
        assert np.all(np.diff(distances) >= 0)
    labels = [f"kind {k}" for k in kind]
    perfect = cluster_agreement(labels, members)
    np.testing.assert_allclose(list(perfect.values()), 1.0)
    shuffled = cluster_agreement(labels, rng.permutation(members))
    assert abs(shuffled["ARI"]) < 0.1 and shuffled["homogeneity"] < 0.2
    # Two kinds in one cluster: still, no cluster of several kinds would be homogeneous.
    merged = cluster_agreement(labels, np.minimum(members, 1))
    assert merged["homogeneity"] < 0.9 and set(merged) == {"NMI", "ARI", "homogeneity"}


def test_more_clusters_than_points():
    latents = np.repeat(np.eye(3), 5, axis=0)
    with pytest.raises(UserError, match="4 clusters of 3 distinct latent vectors"):
        clusters(latents, 4, seed=0)
