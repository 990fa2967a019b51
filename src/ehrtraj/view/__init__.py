"""The viewer: a local web server that shows the patients of a dataset."""
