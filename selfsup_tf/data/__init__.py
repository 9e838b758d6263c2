"""Images: where they come from, and how views are made of them."""
