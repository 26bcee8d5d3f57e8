"""Deferrable sensors: one path, no worker while they wait."""
