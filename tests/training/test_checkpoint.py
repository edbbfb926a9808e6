"""Checkpoints: what is saved comes back bit by bit, and nothing that fails takes another along."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jvae.errors import UserError
from jvae.objectives import Groups
from jvae.training.checkpoint import FOLDER, load_meta, open_checkpoints, restore, save
from jvae.training.optimisers import Optimisers
from jvae.training.state import TrainState, create_state

ROOT = Path(__file__).parents[2]
META = {"config": {"model": {"latent_size": 3}}, "corpus": "abc", "vocabulary": "é"}


def make_state(step: int, size: int = 5) -> TrainState:
    rng = np.random.default_rng(step)

    def some(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    params = {
        "encoder": {"lstm": {"w": some(size, 3)}},
        "decoder": {"w": some(size), "from_latent": some(0, size)},
        "prior": {},
    }
    groups = Groups({"rival": {"w": some(2)}}, {"counted": {"mean": some(3), "rows": some()}})
    adam = optax.scale_by_adam()
    optimisers = Optimisers(adam, optax.identity(), {"rival": optax.adam(0.1)})
    state = create_state(params, groups, optimisers, aggressive=True)
    grads = jax.tree.map(jnp.sin, state.params)
    _, opt_state = adam.update(optimisers.shared(grads), state.opt_state)
    _, rival_state = optax.adam(0.1).update(grads["rival"], state.own_opt_states["rival"])
    return state._replace(
        step=jnp.int32(step),
        epoch=jnp.int32(step // 10),
        opt_state=opt_state,
        own_opt_states={"rival": rival_state},
        lr_scale=jnp.float32(0.1 * step),
        previous_mi=jnp.float32(np.pi * step),
        totals=state.totals._replace(loss=jnp.float32(1 / 3)),
    )


def assert_equal(first: TrainState, second: TrainState) -> None:
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def steps(workdir: Path) -> set[int]:
    return {int(path.name) for path in (workdir / FOLDER).iterdir() if path.name.isdigit()}


@pytest.fixture
def manager(tmp_path):
    opened = open_checkpoints(tmp_path)
    yield opened
    opened.close()


@pytest.mark.smoke
def test_round_trip_is_bit_equal(manager, tmp_path):
    state = make_state(10)
    save(manager, state, META, -5.0)
    for again in (manager, open_checkpoints(tmp_path), open_checkpoints(tmp_path, read_only=True)):
        assert_equal(restore(again, jax.tree.map(jnp.zeros_like, state)), state)
        assert load_meta(again) == META


def test_no_checkpoint_no_meta(manager):
    assert load_meta(manager) is None


def test_the_last_two_and_the_best_are_kept(manager, tmp_path):
    elbos = {10: -9.0, 20: -5.0, 30: -7.0, 40: -6.0, 50: -8.0, 60: -4.0}
    kept = [{10}, {10, 20}, {20, 30}, {20, 30, 40}, {20, 40, 50}, {50, 60}]
    best = [10, 20, 20, 20, 20, 60]
    for (step, elbo), expected, which in zip(elbos.items(), kept, best, strict=True):
        save(manager, make_state(step), META | {"number": step}, elbo)
        assert steps(tmp_path) == expected
        assert_equal(restore(manager, make_state(0)), make_state(step))
        assert_equal(restore(manager, make_state(0), best=True), make_state(which))
        assert load_meta(manager)["number"] == step


def test_a_checkpoint_in_mid_epoch_is_never_the_best(manager, tmp_path):
    save(manager, make_state(10), META, -1e6)
    for step in (13, 17):
        save(manager, make_state(step), META, None)
    assert_equal(restore(manager, make_state(0)), make_state(17))
    assert_equal(restore(open_checkpoints(tmp_path), make_state(0), best=True), make_state(10))
    save(manager, make_state(19), META, None)
    assert steps(tmp_path) == {10, 17, 19}


def test_the_same_step_is_saved_once(manager):
    save(manager, make_state(10), META, -5.0)
    save(manager, make_state(10)._replace(epoch=jnp.int32(77)), META, -5.0)
    assert_equal(restore(manager, make_state(0)), make_state(10))


def test_a_reader_leaves_a_save_in_progress_alone(manager, tmp_path):
    save(manager, make_state(10), META, -5.0)
    temporary = tmp_path / FOLDER / "20.orbax-checkpoint-tmp"
    temporary.mkdir()
    reader = open_checkpoints(tmp_path, read_only=True)
    assert reader.latest_step() == 10 and temporary.is_dir()
    # The run itself, when it resumes, sweeps up what a kill has left.
    assert open_checkpoints(tmp_path).latest_step() == 10 and not temporary.exists()


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / FOLDER).write_text("not a folder")
    with pytest.raises(UserError, match=str(tmp_path / FOLDER)) as caught:
        open_checkpoints(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0, 0.5])
def test_a_damaged_checkpoint_names_its_folder(manager, tmp_path, keep):
    for step in (10, 20):
        save(manager, make_state(step), META, -5.0)
    folder = tmp_path / FOLDER / "20"
    for path in (folder / "state").rglob("*"):
        if path.is_file():
            os.truncate(path, int(keep * path.stat().st_size))
    again = open_checkpoints(tmp_path)
    with pytest.raises(UserError) as caught:
        restore(again, make_state(0))
    message = str(caught.value)
    assert f"checkpoint {folder} is damaged" in message and "\n" not in message
    # The advice works.
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()
    assert_equal(restore(open_checkpoints(tmp_path), make_state(0)), make_state(10))


def test_damaged_meta_names_its_folder(manager, tmp_path):
    save(manager, make_state(10), META, -5.0)
    for path in (tmp_path / FOLDER / "10" / "meta").iterdir():
        path.write_text('{"config": ')
    with pytest.raises(UserError, match=f"checkpoint {tmp_path / FOLDER / '10'} is damaged"):
        load_meta(open_checkpoints(tmp_path))


def test_another_model_does_not_fit(manager):
    save(manager, make_state(10), META, -5.0)
    with pytest.raises(UserError, match=r"10 is of another model: .* \(5,\) there, \(6,\) here"):
        restore(manager, make_state(0, size=6))


def test_the_room_that_is_reserved_holds_the_checkpoint(manager, tmp_path, monkeypatch):
    reserved = []
    monkeypatch.setattr(
        "jvae.training.checkpoint._reserve", lambda folder, size: reserved.append(size)
    )
    save(manager, make_state(10), META, -5.0)
    written = [path.stat().st_size for path in (tmp_path / FOLDER / "10").rglob("*")]
    assert sum(-(-size // 4096) * 4096 for size in written) <= reserved[0]


FULL_DISK = """
import os, resource, sys
from pathlib import Path
from jvae.errors import UserError
from jvae.training.checkpoint import open_checkpoints, save
from tests.training.test_checkpoint import META, make_state

if sys.argv[2] == "without":
    del os.posix_fallocate  # as on macOS: orbax itself meets the full disk
manager = open_checkpoints(Path(sys.argv[1]))
save(manager, make_state(10), META, -5.0)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
try:
    save(manager, make_state(20, size=100_000), META, -4.0)
except UserError as error:
    print(error)
print("latest", manager.latest_step())
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
save(manager, make_state(30), META, -3.0)
manager.close()
"""


@pytest.mark.slow
@pytest.mark.parametrize("reserve", ["with", "without"])
def test_a_full_disk_costs_only_the_save_that_met_it(reserve, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path), reserve],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert reserve == "without" or done.stderr == "", "nothing but the one line"
    message, latest = done.stdout.splitlines()
    assert message.startswith(f"cannot save checkpoint 20 in {tmp_path / FOLDER}: ")
    assert "checkpoint 10 is intact" in message
    assert latest == "latest 10"
    left = [path.name for path in (tmp_path / FOLDER).iterdir() if "tmp" in path.name]
    assert bool(left) == (reserve == "without"), "orbax leaves what it had begun"
    manager = open_checkpoints(tmp_path)
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == ["10", "30"]
    assert_equal(restore(manager, make_state(0)), make_state(30))
    (tmp_path / FOLDER / "30").rename(tmp_path / "30")
    assert_equal(restore(open_checkpoints(tmp_path), make_state(0)), make_state(10))
