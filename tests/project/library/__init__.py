"""A small library: enough models for every kind of relation, a view of every kind."""
