"""Lexical features (placeholder names until the extractor lands)."""
LEXICAL: tuple[str, ...] = ("valence",)
