"""What the command's exit codes mean."""

FAILED, USAGE, UNREACHABLE, REFUSED, DEFECT, INTERRUPTED = 1, 2, 3, 4, 70, 130
