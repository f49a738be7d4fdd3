"""Files that come from and go to others: tables, foreign JSON, spreadsheet-safe CSV."""
