"""A run needs neither TensorFlow nor PyTorch, though its libraries can use them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import json, sys
from pathlib import Path
from tests.tiny import run_tiny, tiny_config
from jvae.commands.cli import main

config = tiny_config(
    Path(sys.argv[1]), training__epochs=1, training__aggressive=False, data__stream=True
)
run_tiny(config, Path(sys.argv[2]))
main(["sample", sys.argv[2], "-n", "1"])
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


@pytest.mark.slow
def test_neither_tensorflow_nor_torch_is_imported(train, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(train), str(tmp_path / "run")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    modules = set(json.loads(done.stdout.splitlines()[-1]))
    assert {"jvae", "jax", "grain", "orbax", "tensorboardX", "tensorflow_datasets"} <= modules
    assert not {"tensorflow", "tensorboard", "torch", "keras"} & modules
