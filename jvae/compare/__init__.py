"""Compares several training methods on one corpus."""
