"""Networks for rows of numbers and for series."""
