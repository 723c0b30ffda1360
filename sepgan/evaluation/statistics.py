"""Statistics of scores over tracks: intervals, paired comparisons of systems, effect sizes."""
