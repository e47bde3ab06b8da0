from .scene import map_scene as map_scene
