"""Fields of forms: from what is declared, and back."""
