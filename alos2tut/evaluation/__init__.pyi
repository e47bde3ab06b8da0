from . import robustness as robustness
from .comparison import compare as compare
from .report import evaluate as evaluate
