"""Models against labelled patients: measures, statistics, and the page that shows them."""
