from .report import Report as Report
from .report import verify_product as verify_product
