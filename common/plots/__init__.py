"""Arrays in, picture file out: base.py for all, classifier.py, model_diagram.py, and one file for each lesson."""
