"""Did the adversary help? A model against its twin without one, and the models between the two."""
