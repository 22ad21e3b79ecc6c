"""Texts: files of sentences and labels, tokenizers, and batches of token ids."""
