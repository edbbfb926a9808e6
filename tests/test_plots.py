import ast
import inspect

import numpy as np
import pytest

from jvae import plots


def _history(epochs):
    return [
        {
            "epoch": epoch,
            "elbo": -100.0 + epoch,
            "rec": 95.0 - epoch,
            "kl": 0.5 * epoch,
            "mi": 0.4 * epoch,
            "au": epoch,
            "kl_weight": min(1.0, 0.1 * epoch),
            "aggressive": epoch < 3,
        }
        for epoch in range(1, epochs + 1)
    ]


RNG = np.random.default_rng(0)
MEANS = RNG.normal(size=(300, 5))
PICTURES = {
    "training": lambda path: plots.training_curves(_history(8), path),
    "one epoch, few figures": lambda path: plots.training_curves([{"epoch": 1, "kl": 0.1}], path),
    "kl": lambda path: plots.kl_per_dimension(RNG.gamma(1.0, size=32), path),
    "kl of a collapsed model": lambda path: plots.kl_per_dimension(np.zeros(64), path),
    "map": lambda path: plots.latent_map(MEANS, path),
    "map with labels": lambda path: plots.latent_map(MEANS, path, labels=np.arange(300) % 11),
    "map of a collapsed model": lambda path: plots.latent_map(np.zeros((20, 3)), path),
    "map of one dimension": lambda path: plots.latent_map(MEANS[:, :1], path),
    "rate and distortion": lambda path: plots.rate_distortion(
        {"ae": [], "vae": [(0.1, 36.0), (0.2, 35.9)], "aggressive": [(2.0, 34.5)]},
        {"ae": 33.0},
        path,
    ),
    "two numbers": lambda path: plots.methods_by(
        {"ae": [], "vae": [(0.1, 36.0), (0.2, 35.9)], "real": [(2.0, 34.5)]}, "x", "y", path
    ),
    "methods": lambda path: plots.method_curves({"a": _history(4), "lm": [{"epoch": 1}]}, path),
    "kl over training": lambda path: plots.kl_heat_map(
        [{"epoch": e, "kl_per_dim": [0.1 * e, 0.2, 0.0]} for e in range(1, 5)], path
    ),
    "posterior means": lambda path: plots.posterior_mean_space(
        [(f"epoch {e}", MEANS[:, 0], e * MEANS[:, 0] / 5) for e in range(6)], path
    ),
}


@pytest.mark.parametrize("draw", PICTURES.values(), ids=PICTURES.keys())
def test_every_picture_is_a_png_with_something_in_it(draw, tmp_path):
    from matplotlib.image import imread

    draw(tmp_path / "picture.png")
    pixels = imread(tmp_path / "picture.png")
    assert min(pixels.shape[:2]) > 200
    assert pixels[..., :3].std() > 0.01


def test_the_heat_map_has_the_largest_dimension_on_top(monkeypatch):
    history = [{"epoch": e, "kl_per_dim": [0.0, 1.0 * e, 0.5]} for e in (1, 2, 3)]
    figure = _figure(monkeypatch, lambda path: plots.kl_heat_map(history, path))
    drawn = figure.axes[0].images[0].get_array()
    np.testing.assert_array_equal(drawn, [[1, 2, 3], [0.5, 0.5, 0.5], [0, 0, 0]])


def _figure(monkeypatch, draw):
    """The figure that a function would have saved."""
    saved = []
    monkeypatch.setattr(plots, "_save", lambda figure, path: saved.append(figure))
    draw("unused")
    return saved[0]


def test_curves_show_the_figures_with_losses_positive(monkeypatch):
    figure = _figure(monkeypatch, PICTURES["training"])
    lines = {line.get_label(): line.get_ydata() for ax in figure.axes for line in ax.get_lines()}
    np.testing.assert_allclose(lines["-ELBO"], 100.0 - np.arange(1, 9))
    np.testing.assert_allclose(lines["reconstruction"], 95.0 - np.arange(1, 9))
    np.testing.assert_allclose(lines["mutual information"], 0.4 * np.arange(1, 9))
    assert all(len(ax.patches) == 2 for ax in figure.axes)  # epochs 1 and 2 are shaded
    assert all(ax.get_xlabel() == "epoch" and ax.get_ylabel() for ax in figure.axes)


def test_what_has_no_rate_is_a_line_in_its_own_colour(monkeypatch):
    (ax,) = _figure(monkeypatch, PICTURES["rate and distortion"]).axes
    lines = {line.get_label(): line for line in ax.get_lines()}
    assert list(lines["ae"].get_ydata()) == [33.0, 33.0]
    assert lines["ae"].get_color() == plots.COLOURS[0]
    assert ax.get_ylim()[0] < 33.0
    assert {text.get_text() for text in ax.get_legend().get_texts()} == {"ae", "vae", "aggressive"}


def test_bars_are_sorted_and_named_by_their_dimension(monkeypatch):
    figure = _figure(monkeypatch, lambda path: plots.kl_per_dimension([0.1, 3.0, 0.5], path))
    (ax,) = figure.axes
    assert [bar.get_height() for bar in ax.patches] == [3.0, 0.5, 0.1]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1", "2", "0"]
    assert "3.60 nats" in ax.get_title()


def test_the_map_is_the_principal_plane(monkeypatch):
    points = RNG.normal(size=(200, 2)) * [5.0, 1.0]
    turned, _ = np.linalg.qr(RNG.normal(size=(6, 2)))
    figure = _figure(monkeypatch, lambda path: plots.latent_map(points @ turned.T + 3, path))
    drawn = np.asarray(figure.axes[0].collections[0].get_offsets())
    expected = np.linalg.eigvalsh(np.cov(points.T))[::-1]
    np.testing.assert_allclose(np.var(drawn, axis=0, ddof=1), expected, rtol=1e-9)


def test_the_model_posterior_is_on_the_horizontal_axis(monkeypatch):
    x, y = np.array([1.0, -2.0]), np.array([0.1, 0.2])
    figure = _figure(monkeypatch, lambda path: plots.posterior_mean_space([("a", x, y)], path))
    (ax,) = figure.axes
    np.testing.assert_allclose(ax.collections[0].get_offsets(), np.stack([x, y], axis=1))
    assert ax.get_xlim() == ax.get_ylim()
    assert "model" in figure.get_supxlabel() and "inference" in figure.get_supylabel()


def test_the_same_arrays_give_the_same_file(tmp_path):
    for name in ("a", "b"):
        plots.latent_map(MEANS, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_matplotlib_is_loaded_only_when_a_picture_is_drawn_and_pyplot_never():
    tree = ast.parse(inspect.getsource(plots))
    at_import = [ast.unparse(node) for node in tree.body if not isinstance(node, ast.FunctionDef)]
    anywhere = [
        ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)
    ]
    assert not any("import matplotlib" in line or "from matplotlib" in line for line in at_import)
    assert any("matplotlib.figure" in line for line in anywhere)
    assert not any("pyplot" in line for line in anywhere)
