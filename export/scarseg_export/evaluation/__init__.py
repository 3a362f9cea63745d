"""How good a trained model is on unseen patients of the digital twin, and why.

testset.py  two fixed sets of patients            → TestCase
arms.py     one patient through every arm         → labels by arm
metrics.py  labels against truth                  → CaseScore
run.py      all patients, in parallel, resumable  → rows
summary.py  rows by Δt bin, with intervals        → tables
plots.py    the same as pictures
report.py   files: JSON, Markdown, plots
"""
