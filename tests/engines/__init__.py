"""Database engines as projects have them, combined with ours by a mixin."""
