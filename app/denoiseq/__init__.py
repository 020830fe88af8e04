"""denoiseq: low-depth ATAC-seq in, denoised coverage and peaks out, trained and run on CPUs."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("denoiseq")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0+unknown"
