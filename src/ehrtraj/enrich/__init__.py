"""Write a dataset that includes the concepts of another one as events."""
