"""After the network: other machines, and other programs of this one."""
