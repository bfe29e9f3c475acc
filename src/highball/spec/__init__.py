"""What people declare: jobs, profiles, repositories, settings, and the document that holds them."""
