<<<<<<< HEAD
"""Texts: files of sentences and labels, tokenizers, and batches of token ids."""
=======
"""Texts: rows of token ids."""
>>>>>>> 091ff57d3d2abff184569a00c5cd5f0215865b59
