"""Handwriting: digits found in a photograph, and a page to draw on. For read_digit.py."""
