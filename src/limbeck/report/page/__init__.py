"""A page of everything that runs and comparisons found: one HTML file that loads nothing."""

from limbeck.report.page.write import PAGE, write_page

__all__ = ["PAGE", "write_page"]
