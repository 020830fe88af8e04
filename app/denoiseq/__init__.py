"""denoiseq: low-depth ATAC-seq in, denoised coverage and peaks out, trained and run on CPUs.

`genomics` holds what the data is, `learning` what is learned from it, `build` joins the two.
"""

__version__ = "0.1.0"
