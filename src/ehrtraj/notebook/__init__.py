"""How objects are displayed in notebooks."""
