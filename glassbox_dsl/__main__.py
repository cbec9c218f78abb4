"""`python -m glassbox_dsl` is `gbx`."""

from glassbox_dsl.cli.app import main

if __name__ == "__main__":
    main()
