"""What the data is: file formats and pure domain code of ATAC-seq. Imports no torch."""
