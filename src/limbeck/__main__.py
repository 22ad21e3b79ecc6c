"""``python -m limbeck``: the same as the ``limbeck`` command."""

from limbeck.cli.main import main

if __name__ == "__main__":
    main()
