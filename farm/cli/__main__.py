"""`python -m farm.cli`: how the farm starts its own commands, whatever PATH says."""

from farm.cli import main

if __name__ == "__main__":
    main()
