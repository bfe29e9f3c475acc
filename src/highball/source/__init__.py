"""What a job reads; one file per kind of source."""
