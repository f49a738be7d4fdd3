"""What is kept on disk: runs and job records."""
