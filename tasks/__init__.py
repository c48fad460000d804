"""One file a stage, named by its verb; `stage.py` is what every stage shares."""
