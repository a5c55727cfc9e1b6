"""What the user asks for: the experiment file, its sections, and how it is read and checked. Knows no machine."""
