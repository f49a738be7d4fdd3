"""Run `python -m mmh_core COMMAND`."""

from mmh_core.cli.app import main

if __name__ == "__main__":
    main()
