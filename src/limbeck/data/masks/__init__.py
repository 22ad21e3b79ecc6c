"""Images with index masks, the data of segmentation: read from folders or drawn, and varied together."""
