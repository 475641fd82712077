"""``python -m blursynth``."""

from blursynth.cli.main import main

if __name__ == "__main__":
    main()
