"""What holds for all tests: machines are shared and noisy, so no example of a property test is timed."""

from hypothesis import settings

settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")
