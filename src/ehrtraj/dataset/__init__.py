"""Using a dataset: open it, read patients, cut trajectories, query."""
