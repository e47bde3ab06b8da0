from .stage import finetune as finetune
