"""What runs inside an emulated host: clock, wire, transport, fragments, algorithms, training, journal.

It imports neither mnbed nor topologies, so that an agent needs little and runs on any machine. mnbed may import it;
what both sides read and write (settings, control messages, journal) is declared here.
"""
