"""Run the command line with `python -m ehrtraj`."""

from ehrtraj.cli import main

if __name__ == "__main__":
    main()
