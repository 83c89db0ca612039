"""The reliability tests R1 to R22, in their short forms."""
