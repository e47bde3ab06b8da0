from .bridges import FeatureExtractor as FeatureExtractor
from .bridges import PatchSamples as PatchSamples
from .conversion import convert_checkpoint as convert_checkpoint
from .hub import export_hub as export_hub
from .published import export_checkpoint as export_checkpoint
from .weights import load_encoder as load_encoder
from .weights import load_segmenter as load_segmenter
