"""People's labels as stages use them: ratings, comparisons, agreement, aggregation, what to label next.

The label page itself and its people are in `tasks/labelling/`.
"""
