"""Run the command line with `python -m ehrtraj`."""

from ehrtraj.cli import console

if __name__ == "__main__":
    console()
