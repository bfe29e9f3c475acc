"""What people declare: read, checked, merged."""
