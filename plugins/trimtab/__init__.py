"""Trimtab keeps machine-learning models true while the world drifts."""
