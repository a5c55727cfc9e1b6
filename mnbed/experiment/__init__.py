"""What was asked: the experiment file, its sections, how it is read, checked and explained. Knows no machine."""
