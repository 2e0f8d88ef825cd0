"""How rows are read and written: the only folder that speaks to Postgres."""
