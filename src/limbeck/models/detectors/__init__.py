"""Networks that find boxes: builders by name, and the training forward of torchvision's, part by part."""
