"""One heavy library per module, behind a Protocol of `trimtab.domain.ports`."""
