"""The version of the product: the wheel and `--version` take it from here, so an uninstalled tree has it too."""

VERSION = "0.1.0"
