"""Run the command line from a checkout: ``python cli.py make …``."""

from blursynth.__main__ import main

if __name__ == "__main__":
    main()
