"""Images: data sets in memory and in folders, and replayable, augmented views of them."""
