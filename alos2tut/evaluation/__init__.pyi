from . import robustness as robustness
from .comparison import compare as compare
from .comparison import comparison_table as comparison_table
from .comparison import read_comparison as read_comparison
from .config import CompareConfig as CompareConfig
from .forest import baseline as baseline
from .report import evaluate as evaluate
from .report import report_text as report_text
