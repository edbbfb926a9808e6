"""Where both frameworks compute: on the processor, or both on one NVIDIA GPU.

The GPU's side (`cuda`) was written without one at hand and has never been run on one.
"""

import os

DEVICES = ("cpu", "cuda")


def environment(device: str) -> dict[str, str]:
    """Of a process that runs either framework on this device: given to it at its start."""
    return os.environ | {
        "JAX_PLATFORMS": device,
        "OMP_WAIT_POLICY": "passive",  # waiting actively would slow the other framework down
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # JAX would leave PyTorch little of a GPU
    }


def use(framework: str, device: str, tf32: bool) -> None:
    """Sets a framework up, before it computes anything.

    Args:
      framework: jvae or torch.
      device: cpu or cuda.
      tf32: whether a GPU may round the factors of float32 products to TF32, in both alike; each
        framework by itself has another default.

    Raises:
      SystemExit: with one line, if the framework has no such device.
    """
    if framework == "jvae":
        import jax

        jax.config.update("jax_platforms", device)
        try:
            jax.devices(device)
        except RuntimeError as error:
            raise SystemExit(
                f"--device={device}: this jax has no such device ({' '.join(str(error).split())}); "
                "install jvae[cuda] where a GPU is, or take --device=cpu"
            ) from None
        if device == "cuda":
            precision = "tensorfloat32" if tf32 else "highest"
            jax.config.update("jax_default_matmul_precision", precision)
    else:
        import torch

        if device == "cuda":
            if not torch.cuda.is_available():
                raise SystemExit(
                    f"--device=cuda: this torch ({torch.__version__}) finds no CUDA; install a "
                    "CUDA build of it where a GPU is, or take --device=cpu"
                )
            torch.backends.cuda.matmul.allow_tf32 = tf32
            torch.backends.cudnn.allow_tf32 = tf32
        torch.set_num_threads(len(os.sched_getaffinity(0)))


def name(framework: str, device: str) -> str:
    """What the framework calls the device: "cpu", or which GPU it is."""
    if framework == "jvae":
        import jax

        return jax.devices()[0].device_kind
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else device


def synchronise(device: str) -> None:
    """Waits for what PyTorch has asked of a GPU."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()
