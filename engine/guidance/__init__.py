"""Frozen diffusion models that guide the optimisation, and the texts they are asked with."""
