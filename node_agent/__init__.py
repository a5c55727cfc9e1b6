"""What runs inside an emulated host: clock, wire, transport, fragments, algorithms, training, journal."""
