"""The engine: ORM, scopes, transactions, pools and both databases."""
