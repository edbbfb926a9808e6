import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jvae.errors import UserError
from jvae.generation import linear, spherical

BOTH = pytest.mark.parametrize("path", [linear, spherical])


def _ends(seed=0, shape=(5, 16)):
    rng = np.random.default_rng(seed)
    return jnp.float32(rng.normal(size=shape)), jnp.float32(3 * rng.normal(size=shape))


@BOTH
@pytest.mark.parametrize("compiled", [False, True])
def test_the_ends_are_exact(path, compiled):
    z0, z1 = _ends()
    path = jax.jit(path, static_argnums=2) if compiled else path
    points = path(z0, z1, 7)
    assert points.shape == (7, 5, 16)
    np.testing.assert_array_equal(points[0], z0)
    np.testing.assert_array_equal(points[-1], z1)


def test_linear_points_are_equally_spaced():
    z0, z1 = _ends(1)
    difference = np.diff(linear(z0, z1, 6), axis=0)
    np.testing.assert_allclose(difference, np.broadcast_to((z1 - z0) / 5, (5, 5, 16)), atol=1e-5)


def test_spherical_norms_are_linear_and_angles_equal():
    z0, z1 = _ends(2)
    points = np.float64(spherical(z0, z1, 9))
    norms = np.linalg.norm(points, axis=-1)
    np.testing.assert_allclose(norms, np.linspace(norms[0], norms[-1], 9), rtol=1e-5)
    unit = points / norms[..., None]
    angles = np.arccos(np.sum(unit[1:] * unit[:-1], axis=-1))
    whole = np.arccos(np.sum(unit[0] * unit[-1], axis=-1))
    np.testing.assert_allclose(angles, np.broadcast_to(whole / 8, (8, 5)), rtol=1e-3)
    # The plane of the two ends holds every point.
    for row in range(5):
        assert np.linalg.matrix_rank(points[:, row], tol=1e-4) == 2


def test_a_quarter_circle():
    points = spherical(jnp.array([2.0, 0.0]), jnp.array([0.0, 2.0]), 3)
    np.testing.assert_allclose(points[1], [2**0.5, 2**0.5], rtol=1e-6)


@pytest.mark.parametrize("factor", [1.0, 2.5, 0.0, -1.0, -3.0])
def test_spherical_without_a_circle_is_the_straight_line(factor):
    z0, _ = _ends(3)
    for pair in ((z0, factor * z0), (factor * z0, z0)):
        points = spherical(*pair, 5)
        assert np.all(np.isfinite(points))
        np.testing.assert_allclose(points, linear(*pair, 5), atol=1e-5)


@BOTH
def test_one_vector_needs_no_batch_axis(path):
    z0, z1 = _ends(4)
    np.testing.assert_allclose(path(z0[2], z1[2], 5), path(z0, z1, 5)[:, 2], atol=1e-6)


@BOTH
def test_a_path_of_one_point_is_refused(path):
    with pytest.raises(UserError, match="at least 2"):
        path(*_ends(), 1)
