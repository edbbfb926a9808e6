"""Variational autoencoders of sentences."""
