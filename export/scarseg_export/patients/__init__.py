"""Patients of one's own: a table of studies, masks and ECGs, read as the product reads them."""
