"""Tables and series: rows of numbers."""
