"""What clients may send on purpose: the rows of attack, and holes that Django has mended."""
