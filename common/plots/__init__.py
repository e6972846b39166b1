"""Arrays in, picture file out: what every lesson draws (common.py, diagram.py), and one file for each lesson."""
