"""How the two networks of a run are doing: measured on held-out material, watched by alarms, shown in a page."""
