"""The pictures of the documentation, made by the code that they explain: ``python -m docs.figures``."""
