"""``python -m blursynth``, as torchrun starts it."""

from blursynth.cli.main import main

if __name__ == "__main__":
    main()
