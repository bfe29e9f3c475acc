"""How pages are drawn, and how facts look and read on them."""
