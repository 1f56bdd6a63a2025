"""What calls used, as their entries say it: usage rows, invoices, and comparing them with the log."""
