"""Onloop measured against what people would use instead. Run with ``python -m benchmarks``."""
