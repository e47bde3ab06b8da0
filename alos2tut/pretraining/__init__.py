"""Self-supervised pretraining: SAR-W-SimMIM, SAR-W-MixMAE, and probes of what was learned."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
