"""What goes into a model and how it is stored: tokenizer, chat template, batches, preference data,
checkpoints in Hugging Face's layout.

Computing with a model belongs in the packages above.
"""
