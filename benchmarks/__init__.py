"""Timings of jvae beside PyTorch; not part of the package."""
