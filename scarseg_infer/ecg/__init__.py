"""An ECG in any form → named leads in millivolts, and what it is worth beside an image."""
