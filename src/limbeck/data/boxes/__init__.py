"""Images with boxes, the data of detection: read from COCO or VOC files or drawn, and varied together."""
