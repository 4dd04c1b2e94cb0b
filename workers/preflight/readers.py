"""Readers: one for each cloud whose keys are asked."""

from importlib import import_module
from typing import cast

from workers.clouds.one_each import OneEach
from workers.preflight.interface import Reader


class Readers(OneEach[Reader]):
    """The readers of one process."""

    @staticmethod
    def made_for(cloud: str) -> Reader:
        """Make the reader of a cloud; its SDK is imported here and not before."""
        return cast("Reader", import_module(f"workers.clouds.{cloud}.preflight").reader())
