"""The window onto dynsim: particles, forces and curves, live or replayed."""
