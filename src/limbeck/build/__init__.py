"""What a recipe names, built: data loaders, networks, teachers, logit caches, selections."""
