"""What lies at the edge of a worker and inside it: IMC, its descriptors and protocols, the zygote."""
