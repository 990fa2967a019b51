"""A finished dataset in hand: open it, look at patients, cut, query."""
