"""Packaged recipes: one YAML file each, run by name."""
