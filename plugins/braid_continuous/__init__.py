"""Backbone ``gaussian``: variance-preserving diffusion (DDPM, DDIM) of vectors and images."""
