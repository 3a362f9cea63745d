"""Many studies on many cores or machines: ``scarseg-cohort TABLE -o OUT``, on Ray.

TABLE ─ table ─ driver ─ worker (one warm Segmenter each) ─ OUT/ID/…
                  │ journal: what is done, so that a second run goes on
                  └ results: one Parquet of all that is done, failures.csv
"""
