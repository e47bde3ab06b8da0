from .opening import open_product as open_product
from .product import Product as Product
from .verify import verify_product as verify_product
