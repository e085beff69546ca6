"""One file per revision: `NUMBER_what.py`."""
