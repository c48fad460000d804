"""Check one GPU in at most eight minutes: does it compute what a CPU computes, and how fast does it train?"""
