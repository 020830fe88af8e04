"""What a person reads: tables, figures, and one HTML page that needs nothing else."""
