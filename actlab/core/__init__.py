"""What everything stands on: settings, records, statistics, and the paper's published numbers."""

from actlab import face

__all__, __getattr__, __dir__ = face(__name__, ("config", "paper", "records", "reliability", "stats"))
