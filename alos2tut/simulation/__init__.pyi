from .scene import simulate_product as simulate_product
