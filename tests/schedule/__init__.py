"""When things are due, and how a job stands measured against that."""
