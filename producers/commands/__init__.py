"""Doing to this node what a command says: resets and diagnostics, by the tools that NVIDIA gives."""
