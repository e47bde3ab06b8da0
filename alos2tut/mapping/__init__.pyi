from .config import MapConfig as MapConfig
from .rows import DeviceExecutor as DeviceExecutor
from .scene import map_scene as map_scene
