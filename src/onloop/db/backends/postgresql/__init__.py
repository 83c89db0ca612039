"""PostgreSQL: Django's backend on a psycopg connection that waits on the loop."""
