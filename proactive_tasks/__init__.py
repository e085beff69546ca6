"""Inter-site network overlay as ProActive workflow tasks.

Files of this package are tasks; folders are the parts they share.
"""

__version__ = "0.1.0"
