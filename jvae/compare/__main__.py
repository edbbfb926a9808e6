"""`python -m jvae.compare` and `jvae compare` run `jvae.experiments.compare`."""

import runpy


def main() -> None:
    """Runs the entry point with the command line of this process."""
    runpy.run_module("jvae.experiments.compare", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
