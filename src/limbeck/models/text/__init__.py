"""Networks for texts: small ones of limbeck's own, and those of the library transformers."""
