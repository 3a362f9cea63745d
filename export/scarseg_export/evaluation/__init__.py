"""Evaluation of a trained model on unseen patients of the digital twin and on real data.

testset.py     two fixed sets of patients, rendered once   → UnseenPatient
arms.py        one patient through every arm               → labels by arm
metrics.py     labels against truth                        → CaseScore
run.py         all patients, in parallel, resumable        → rows
estimates.py   means and AUROC with bootstrap intervals    → Estimate
summary.py     rows of all training seeds by Δt bin        → tables
plots.py       the same as pictures
failures.py    the patients that go wrong most
report.py      files: JSON, Markdown, plots
model_file.py  scores of an exported ONNX file
digest.py      names for states of our source: what other code measured is not reused
"""
