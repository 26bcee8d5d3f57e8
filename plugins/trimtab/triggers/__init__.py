"""Waiting without a worker. Each trigger polls one cheap fact in a thread, so that no other trigger has to wait."""
