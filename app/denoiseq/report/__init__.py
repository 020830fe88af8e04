"""What a person reads: tables, figures, and one HTML page that needs nothing else.

`training_page`, `evaluation_page` and `prediction_page` put the pages together; `metrics` and
`tracks` define what is shown. Takes plain arrays and dictionaries and gives text and PNG bytes;
opens no data file and no model.
"""
