"""Many runs of one scenario whose keys are varied: `conduct` does them, `record` reads what they left."""
