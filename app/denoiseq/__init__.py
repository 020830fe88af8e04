"""denoiseq: low-depth ATAC-seq in, denoised coverage and peaks out, trained and run on CPUs.

`genomics` holds what the data is, `learning` what is learned from it, `build` joins the two.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("denoiseq")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0+unknown"
