"""Random numbers: a hash of (seed, epoch, sample), and the generators of Python, NumPy and torch."""
