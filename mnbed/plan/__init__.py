"""What will happen, pure: experiment and machine facts become names, addresses, routes, rates and a budget."""
