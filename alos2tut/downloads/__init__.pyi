from .fetching import fetch as fetch
from .manifest import load_manifest as load_manifest
