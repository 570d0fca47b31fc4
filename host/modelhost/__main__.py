"""`python -m modelhost` is `modelhost`."""

from modelhost.cli import main

if __name__ == "__main__":
    main()
