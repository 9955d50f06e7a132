"""Many runs side by side: means over seeds, paired differences, what mattered, accuracy against bytes."""
