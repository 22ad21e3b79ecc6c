"""What a recipe describes, built once: data, networks, teachers, logit caches and selections, and checks of them.

:class:`limbeck.build.context.Context` holds a recipe with what was built from it.
"""
