"""Write the metadata of a finished dataset and move it to its final path."""
