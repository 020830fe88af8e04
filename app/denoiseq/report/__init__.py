"""What a person reads: tables, figures, and one HTML page that needs nothing else.

Takes plain arrays and dictionaries and gives text and PNG bytes; opens no data file and no model.
"""

from denoiseq.report.loci import write_loci
from denoiseq.report.locus_figures import Locus, draw_loci
from denoiseq.report.metric_text import metrics_table, metrics_tsv
from denoiseq.report.page import Page
from denoiseq.report.pages import Found, evaluation_page, prediction_page, training_page

__all__ = [
    "Found",
    "Locus",
    "Page",
    "draw_loci",
    "evaluation_page",
    "metrics_table",
    "metrics_tsv",
    "prediction_page",
    "training_page",
    "write_loci",
]
