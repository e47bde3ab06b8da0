from .probing import probe as probe
from .stage import pretrain as pretrain
