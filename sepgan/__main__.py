"""`python -m sepgan` is the same as `sepgan`."""

from sepgan.cli import main

if __name__ == "__main__":
    main()
