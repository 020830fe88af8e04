"""From the benchmarks' CSV files to the tables, figures and estimates of the results page."""
