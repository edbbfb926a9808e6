"""Pictures of training and of the latent: arrays in, one PNG out.

Matplotlib is imported when a picture is drawn, and only through its objects and the Agg canvas: no
window, no display and no state shared with a caller's own plots.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jvae.files import replacing

# Okabe & Ito 2008: distinct to colour-blind readers too. Black is left for reference lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
REST = "#999999"  # more groups than colours share this one

# Panels of `training_curves`: axis label, and key -> legend.
CURVES: tuple[tuple[str, dict[str, str]], ...] = (
    ("nats per sentence", {"elbo": "-ELBO", "rec": "reconstruction"}),
    ("nats per sentence", {"kl": "KL", "mi": "mutual information"}),
    ("active units", {"au": "active units"}),
    ("vectors of a sentence", {"vectors": "vectors of a sentence"}),
    ("KL weight", {"kl_weight": "KL weight"}),
)

PathLike = str | Path


def training_curves(history: Sequence[Mapping[str, Any]], path: PathLike) -> None:
    """Draws the course of training over epochs: loss, KL and MI, active units, KL weight.

    Args:
      history: one dictionary an epoch: `epoch`, and any of `elbo`, `rec`, `kl`, `mi` (nats per
        sentence), `au` (units), `vectors`, `kl_weight`, `aggressive` (bool; such epochs are
        shaded). What an epoch lacks is left out.
      path: of the PNG.
    """
    panels = [(unit, names) for unit, names in CURVES if any(_has(history, key) for key in names)]
    figure = _figure(width=9.0, height=2.7 * max(1, (len(panels) + 1) // 2))
    axes = figure.subplots(-(-len(panels) // 2), 2, squeeze=False, sharex=True).ravel()
    for ax, (unit, names) in zip(axes, panels, strict=False):
        for key, colour in zip(names, COLOURS, strict=False):
            rows = [row for row in history if row.get(key) is not None]
            if rows:
                sign = -1 if key == "elbo" else 1
                ax.plot(
                    [row["epoch"] for row in rows],
                    [sign * float(row[key]) for row in rows],
                    color=colour,
                    label=names[key],
                    marker="o",
                    markersize=3 if len(rows) < 40 else 0,
                )
        _shade_aggressive(ax, history)
        _label(ax, "epoch", unit)
        ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        if unit == "active units":
            ax.set_ylim(bottom=0)
            ax.yaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        if unit not in names.values():
            ax.legend(loc="best", facecolor="white", framealpha=0.8, edgecolor="none")
    for ax in axes[len(panels) :]:
        ax.remove()
    if history:
        epochs = [row["epoch"] for row in history]
        axes[0].set_xlim(min(epochs) - 0.7, max(epochs) + 0.7)  # shared by all
    _save(figure, path)


def kl_per_dimension(kl: ArrayLike, path: PathLike) -> None:
    """Draws the KL of each dimension, the largest first.

    Args:
      kl: `[L]`, nats per sentence.
      path: of the PNG.
    """
    kl = np.asarray(kl, np.float64)
    order = np.argsort(-kl)
    figure = _figure(width=min(10.0, 4.5 + 0.15 * len(kl)), height=3.2)
    ax = figure.subplots()
    ax.bar(np.arange(len(kl)), kl[order], color=COLOURS[0])
    ax.set_title(f"KL {kl.sum():.2f} nats per sentence in {len(kl)} dimensions")
    if len(kl) <= 40:
        ax.set_xticks(np.arange(len(kl)), [str(dimension) for dimension in order])
        ax.tick_params(axis="x", labelsize=7)
    _label(ax, "latent dimension, by KL", "KL (nats per sentence)")
    # All bars of a collapsed model are tiny: do not magnify noise to the height of the picture.
    ax.set_ylim(0, max(0.01, 1.05 * float(kl.max())))
    _save(figure, path)


def latent_map(mean: ArrayLike, path: PathLike, labels: ArrayLike | None = None) -> None:
    """Draws the two principal components of the posterior means.

    Args:
      mean: `[N, L]`, posterior means. With N or L below 2 there is no map, and the title says so.
      path: of the PNG.
      labels: `[N]`, a group for each sentence; the seven largest have a colour each. Without it,
        colour is the local density of points.
    """
    mean = np.asarray(mean, np.float64)
    figure = _figure(width=5.6, height=5.0)
    ax = figure.subplots()
    if min(mean.shape) < 2:
        why = f"the latent has {mean.shape[1]} dimension" if len(mean) > 1 else "one sentence only"
        ax.set_title(f"no map: {why}")
        ax.set_axis_off()
        _save(figure, path)
        return
    centred = mean - mean.mean(axis=0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    points = left[:, :2] * singular[:2]
    total = float(np.sum(singular**2))
    share = singular[:2] ** 2 / total if total > 0 else np.zeros(2)
    size = 12 if len(mean) < 2000 else 4
    if labels is None:
        density = _density(points)
        order = np.argsort(density)  # the densest on top
        drawn = ax.scatter(*points[order].T, c=density[order], s=size, cmap="viridis", lw=0)
        figure.colorbar(drawn, ax=ax, label="sentences per cell of a 40 x 40 grid", shrink=0.8)
    else:
        _scatter_groups(ax, points, np.asarray(labels), size)
    ax.set_title("posterior means, principal components")
    _label(
        ax,
        f"first component ({share[0]:.0%} of the variance)",
        f"second component ({share[1]:.0%} of the variance)",
    )
    ax.set_aspect("equal", adjustable="datalim")
    _save(figure, path)


def posterior_mean_space(
    panels: Sequence[tuple[str, ArrayLike, ArrayLike]], path: PathLike
) -> None:
    """Draws inference against model posterior means, one panel a time or model.

    On the diagonal the encoder agrees with the model's own posterior; on the horizontal axis it
    lags behind it; at the origin both have collapsed to the prior.

    Args:
      panels: of (title, means of `p(z|x)` `[N]`, means of `q(z|x)` `[N]`), for a scalar latent.
      path: of the PNG.

    Source: He et al. 2019, figures 1 and 2.
    """
    arrays = [(title, np.asarray(model), np.asarray(q)) for title, model, q in panels]
    spans = [float(np.max(np.abs(values))) for _, *pair in arrays for values in pair]
    limit = 1.08 * max(spans, default=0.0) or 1.0
    # One panel may be collapsed: an axis of its own would hide that.
    limit = max(limit, 0.5)
    columns = min(4, len(arrays))
    rows = -(-len(arrays) // columns)
    figure = _figure(width=0.6 + 2.9 * columns, height=0.5 + 3.0 * rows)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for ax, (title, model, q) in zip(axes.ravel(), arrays, strict=False):
        ax.axhline(0, color="0.85", lw=0.8, zorder=0)
        ax.axvline(0, color="0.85", lw=0.8, zorder=0)
        ax.plot([-limit, limit], [-limit, limit], color="black", lw=0.8, ls="--", zorder=1)
        ax.scatter(model, q, s=7, color=COLOURS[0], alpha=0.5, lw=0, zorder=2)
        ax.set_title(title)
        ax.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
        ax.spines[["top", "right"]].set_visible(False)
    for ax in axes.ravel()[len(arrays) :]:
        ax.remove()
    figure.supxlabel("mean of the model posterior p(z | x)", fontsize=10)
    figure.supylabel("mean of the inference posterior q(z | x)", fontsize=10)
    _save(figure, path)


def rate_distortion(
    points: Mapping[str, Sequence[tuple[float, float]]],
    levels: Mapping[str, float],
    path: PathLike,
) -> None:
    """Draws reconstruction against KL, a point a run; the ELBO is equal along a dashed line.

    Args:
      points: method -> (KL, rec) of each run, nats per sentence; a method without runs keeps its
        place among the colours, which are those of `method_curves`.
      levels: method of `points` -> rec where there is no KL, as of an autoencoder: a dotted line.
      path: of the PNG.

    Source: Alemi et al. 2018, Fixing a Broken ELBO, figure 1.
    """
    figure, ax = _method_points(points)
    for number, name in enumerate(points):
        if name in levels:
            colour = COLOURS[number % len(COLOURS)]
            ax.axhline(levels[name], color=colour, lw=1.5, ls=":", label=name, zorder=1)
    _legend(ax)
    rates = [kl for runs in points.values() for kl, _ in runs]
    span = np.array([0.0, 1.1 * max([*rates, 1.0])])
    for total in {round(kl + rec) for runs in points.values() for kl, rec in runs}:
        ax.plot(span, total - span, color="0.8", lw=0.8, ls="--", zorder=1)
    ax.set_xlim(*(span - [0.03 * span[1], 0]))
    _label(ax, "rate: KL (nats per sentence)", "distortion: rec (nats per sentence)")
    _save(figure, path)


def methods_by(
    points: Mapping[str, Sequence[tuple[float, float]]], x: str, y: str, path: PathLike
) -> None:
    """Draws two numbers of several methods, a point a run.

    Args:
      points: method -> (x, y) of each run; see `rate_distortion`.
      x: what the first number is.
      y: what the second is.
      path: of the PNG.
    """
    figure, ax = _method_points(points)
    _legend(ax)
    _label(ax, x, y)
    _save(figure, path)


def method_curves(histories: Mapping[str, Sequence[Mapping[str, Any]]], path: PathLike) -> None:
    """Draws validation -ELBO, KL, MI and active units of several methods over epochs.

    Args:
      histories: method -> one dictionary an epoch, as for `training_curves`.
      path: of the PNG.
    """
    figure = _figure(width=10.0, height=6.0)
    axes = figure.subplots(2, 2, sharex=True)
    panels = (("elbo", "-ELBO"), ("kl", "KL"), ("mi", "mutual information"), ("au", "active units"))
    for ax, (key, title) in zip(axes.ravel(), panels, strict=True):
        sign = -1 if key == "elbo" else 1
        for number, (name, history) in enumerate(histories.items()):
            rows = [row for row in history if row.get(key) is not None]
            ax.plot(
                [row["epoch"] for row in rows],
                [sign * row[key] for row in rows],
                color=COLOURS[number % len(COLOURS)],
                ls=("-", "--", ":")[number // len(COLOURS) % 3],
                label=name,
            )
        ax.set_title(title)
        _label(ax, "epoch", "units" if key == "au" else "nats per sentence")
    axes[0, 1].legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    _save(figure, path)


def kl_heat_map(history: Sequence[Mapping[str, Any]], path: PathLike) -> None:
    """Draws the validation KL of each dimension (rows) over epochs (columns).

    Args:
      history: one dictionary an epoch, with `epoch` and `kl_per_dim` `[L]`, nats per sentence.
      path: of the PNG.
    """
    rows = [row for row in history if row.get("kl_per_dim")]
    values = np.array([row["kl_per_dim"] for row in rows]).T
    values = values[np.argsort(-values[:, -1])]
    figure = _figure(width=7.0, height=1.6 + 0.09 * len(values))
    ax = figure.subplots()
    epochs = [row["epoch"] for row in rows]
    extent = (min(epochs) - 0.5, max(epochs) + 0.5, len(values) - 0.5, -0.5)
    drawn = ax.imshow(values, aspect="auto", cmap="viridis", extent=extent, vmin=0)
    figure.colorbar(drawn, ax=ax, label="KL (nats)")
    _label(ax, "epoch", "dimension, by last KL")
    _save(figure, path)


def _method_points(points: Mapping[str, Sequence[tuple[float, float]]]) -> tuple[Any, Any]:
    """Makes a figure and its axes with a colour and a mark for each method."""
    figure = _figure(width=6.4, height=4.4)
    ax = figure.subplots()
    for number, (name, runs) in enumerate(points.items()):
        if not runs:
            continue
        colour, marker = COLOURS[number % len(COLOURS)], "os^D"[number // len(COLOURS) % 4]
        ax.scatter(*zip(*runs, strict=True), s=40, c=colour, marker=marker, label=name, zorder=2)
    return figure, ax


def _legend(ax: Any) -> None:
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: PathLike) -> None:
    # Without the version of the software the same arrays give the same file.
    with replacing(path) as file:
        figure.savefig(file, dpi=150, format="png", metadata={"Software": None})


def _label(ax: Any, x: str, y: str) -> None:
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.spines[["top", "right"]].set_visible(False)


def _has(history: Sequence[Mapping[str, Any]], key: str) -> bool:
    return any(row.get(key) is not None for row in history)


def _shade_aggressive(ax: Any, history: Sequence[Mapping[str, Any]]) -> None:
    """Draws a band over each run of epochs with aggressive encoder training."""
    label = "aggressive"
    for row in history:
        if row.get("aggressive"):
            band = (row["epoch"] - 0.5, row["epoch"] + 0.5)
            ax.axvspan(*band, color="0.92", lw=0, zorder=0, label=label)
            label = "_"  # one legend entry for all


def _density(points: np.ndarray, cells: int = 40) -> np.ndarray:
    """Counts the points that share each point's cell of a grid, `[N, 2]` -> `[N]`."""
    low, high = points.min(axis=0), points.max(axis=0)
    width = np.where(high > low, high - low, 1.0)
    index = np.minimum((points - low) / width * cells, cells - 1).astype(int)
    flat = index[:, 0] * cells + index[:, 1]
    return np.bincount(flat, minlength=cells * cells)[flat]


def _scatter_groups(ax: Any, points: np.ndarray, labels: np.ndarray, size: int) -> None:
    """Draws one colour a group, the largest groups first; the rest in grey underneath."""
    names, counts = np.unique(labels, return_counts=True)
    largest = names[np.argsort(-counts, kind="stable")]
    shown = np.sort(largest[: len(COLOURS)])
    for name, colour in zip(shown, COLOURS, strict=False):
        here = labels == name
        ax.scatter(*points[here].T, s=size, c=colour, lw=0, alpha=0.7, label=str(name), zorder=2)
    rest = ~np.isin(labels, shown)
    if rest.any():
        ax.scatter(*points[rest].T, s=size, c=REST, lw=0, alpha=0.7, label="other", zorder=1)
    ax.legend(frameon=False, markerscale=2, loc="center left", bbox_to_anchor=(1, 0.5))
