"""Ready tasks in the language of ACES, and the SQL and tables that they need. Data, no code."""
