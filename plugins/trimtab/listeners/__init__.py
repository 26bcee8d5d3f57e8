"""Listeners of the plugin."""
