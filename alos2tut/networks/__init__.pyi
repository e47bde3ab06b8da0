from .conversion import convert_checkpoint as convert_checkpoint
from .published import export_checkpoint as export_checkpoint
from .weights import load_encoder as load_encoder
from .weights import load_segmenter as load_segmenter
