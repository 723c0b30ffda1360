"""Scores of any separator: metrics of estimates against references, evaluation of folders and models, reports."""
