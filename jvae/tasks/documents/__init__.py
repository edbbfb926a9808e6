"""Neural document models on bags of words."""
