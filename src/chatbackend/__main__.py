"""Run the command line as `python -m chatbackend`."""

from chatbackend.cli import app

if __name__ == "__main__":
    app()
