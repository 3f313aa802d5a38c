"""What holds for every test: properties are judged by their answer, and not by how busy the machine is."""

from hypothesis import settings

settings.register_profile("holdfast", deadline=None)
settings.load_profile("holdfast")
