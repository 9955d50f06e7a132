"""`dynsim report`: one page that says what a run was, what it measured and what follows from the numbers."""
