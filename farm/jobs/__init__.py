"""The vocabulary: spec, job, attempt, states, errors. It talks to nothing."""
