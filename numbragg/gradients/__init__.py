"""Derivatives of the image: complex step, finite differences and a fused analytic pass (specs/50-gradients.md)."""
