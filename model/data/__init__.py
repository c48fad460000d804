"""Model inputs and storage: tokenizer, chat template, batches, preference data, Hugging Face folders.

Computing with a model belongs in the packages above.
"""
