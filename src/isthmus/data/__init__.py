"""Data: raw files to prepared data sets (``prepare``), and prepared data sets to batches (``feed``)."""
