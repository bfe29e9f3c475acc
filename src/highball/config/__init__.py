"""What people declare: read, merged, checked and written."""
