"""After the kernel: the parts of it that nothing honest asks for."""
