"""The papers' tables and figures again: ours beside theirs, as table, picture and raw JSON."""
