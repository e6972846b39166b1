"""Sentences and the vectors of their words: for text_classifier.py, ask_text.py, and whoever brings labelled text."""
